//! The network of a data directory's containers: a bridge of its own, on which they reach the agent and the world,
//! and not each other. Never the host's network.

use std::collections::HashMap;
use std::net::IpAddr;

use bollard::models::{NetworkCreateRequest, NetworkInspect};
use bollard::query_parameters::{InspectNetworkOptions, ListNetworksOptionsBuilder};
use runyard_domain::image::Fault;

use super::container::Labels;
use super::{Engine, error};

/// A network's name and this machine's address in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// Our side.
    pub gateway: IpAddr,
}

impl Engine {
    /// The network of a data directory, made where it is not there. Not to be called twice at once.
    pub async fn bridge(&self, labels: &Labels) -> Result<Bridge, Fault> {
        let name = format!("runyard-{}", labels.data);
        let network = if let Some(network) = self.network(&name).await? {
            network
        } else {
            self.make_network(&name, labels).await?;
            self.network(&name).await?.unwrap_or_default()
        };
        let gateway = gateway(&network).ok_or_else(|| Fault::EngineRefused {
            operation: "make a network".to_owned(),
            message: format!("the network {name} has no gateway"),
        })?;
        Ok(Bridge { name, gateway })
    }

    async fn network(&self, name: &str) -> Result<Option<NetworkInspect>, Fault> {
        match self.docker().inspect_network(name, None::<InspectNetworkOptions>).await {
            Ok(network) => Ok(Some(network)),
            Err(error) if error::status(&error) == Some(404) => Ok(None),
            Err(error) => Err(error::plain("look at its network", &error)),
        }
    }

    async fn make_network(&self, name: &str, labels: &Labels) -> Result<(), Fault> {
        // Workers have nothing to say to each other. Podman keeps them apart by other means.
        let apart = [("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned())];
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            options: (!self.about().podman).then(|| HashMap::from(apart)),
            labels: Some(labels.with(&[])),
            ..NetworkCreateRequest::default()
        };
        match self.docker().create_network(request).await {
            Err(error) if error::status(&error) != Some(409) => Err(error::plain("make a network", &error)),
            _ => Ok(()),
        }
    }

    /// Removes the networks with these labels; those in use stay.
    pub async fn remove_networks(&self, labels: &Labels) {
        let options = ListNetworksOptionsBuilder::default().filters(&labels.filter()).build();
        let listed = self.docker().list_networks(Some(options)).await.unwrap_or_default();
        for name in listed.into_iter().filter_map(|network| network.name) {
            if let Err(error) = self.docker().remove_network(&name).await {
                tracing::debug!(%error, network = name, "a network was not removed");
            }
        }
    }
}

/// Our side's address, IPv4 first.
fn gateway(network: &NetworkInspect) -> Option<IpAddr> {
    let configs = network.ipam.as_ref()?.config.as_ref()?;
    let addresses = configs.iter().filter_map(|config| {
        let text = config.gateway.as_deref()?;
        text.split('/').next()?.parse::<IpAddr>().ok()
    });
    addresses.min_by_key(IpAddr::is_ipv6)
}
