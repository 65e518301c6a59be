//! From a host and a port to a connection. The name is resolved once, every address it has is checked, and the
//! connection goes to one that passed: between the check and the connection no name is looked up again.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::address::Reach;
use crate::url::Url;

/// Addresses on their way.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// Finds the addresses of names.
pub trait Resolve: Send + Sync {
    /// The addresses of `host`.
    fn resolve<'a>(&'a self, host: &'a str) -> Resolving<'a>;
}

/// The machine's own resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> Resolving<'a> {
        Box::pin(async move {
            Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
        })
    }
}

/// Something that bytes go through.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Makes connections.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) reach: Reach,
    /// What is said where that refuses an address.
    pub(crate) rule: &'static str,
    pub(crate) resolver: Arc<dyn Resolve>,
    #[cfg(feature = "tls")]
    pub(crate) tls: crate::tls::Tls,
}

impl Connector {
    /// A connection to where `url` points, or why there is none.
    pub(crate) async fn connect(&self, url: &Url) -> Result<Box<dyn Stream>, String> {
        let tcp = self.tcp(url).await?;
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%error, "a connection to a webhook could not be set to send without delay");
        }
        if url.https { self.encrypt(url, tcp).await } else { Ok(Box::new(tcp)) }
    }

    async fn tcp(&self, url: &Url) -> Result<TcpStream, String> {
        let mut refused = None;
        for address in self.addresses(&url.host).await? {
            let address = SocketAddr::new(address, url.port);
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => refused = Some(format!("cannot connect to {address}: {error}")),
            }
        }
        Err(refused.unwrap_or_else(|| format!("the name {} has no address", url.host)))
    }

    /// The addresses of a host that may be called.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        let all = if let Ok(address) = host.parse::<IpAddr>() {
            vec![address]
        } else {
            let found = self.resolver.resolve(host).await;
            found.map_err(|error| format!("the name {host} cannot be resolved: {error}"))?
        };
        let refused = all.iter().find_map(|address| Some((address, self.reach.refuses(*address)?)));
        let allowed: Vec<IpAddr> = all.iter().copied().filter(|a| self.reach.refuses(*a).is_none()).collect();
        match refused {
            Some((address, kind)) if allowed.is_empty() => {
                Err(format!("{host} is at {address}, which is {kind}: {}", self.rule))
            }
            _ => Ok(allowed),
        }
    }

    #[cfg(feature = "tls")]
    async fn encrypt(&self, url: &Url, tcp: TcpStream) -> Result<Box<dyn Stream>, String> {
        self.tls.wrap(&url.host, tcp).await
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_async, reason = "with TLS it waits for the handshake")]
    async fn encrypt(&self, _url: &Url, _tcp: TcpStream) -> Result<Box<dyn Stream>, String> {
        Err("this build of runyard cannot speak https: it was made without the feature tls".to_owned())
    }
}
