//! Whose a series is. As text it is the store's key: `server`, `endpoint/ID`, `gpu/0`, `worker/ENDPOINT/ID`.

use std::fmt;

use runyard_domain::{EndpointId, WorkerId};

use crate::Of;

/// What something is counted or measured of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// This server and its machine.
    Server,
    /// An endpoint.
    Endpoint(EndpointId),
    /// A GPU, by its index.
    Gpu(u32),
    /// A worker of an endpoint.
    Worker(EndpointId, WorkerId),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("server"),
            Self::Endpoint(id) => write!(f, "endpoint/{id}"),
            Self::Gpu(index) => write!(f, "gpu/{index}"),
            Self::Worker(endpoint, id) => write!(f, "worker/{endpoint}/{id}"),
        }
    }
}

impl Subject {
    /// What [`Display`](fmt::Display) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "server" {
            return Some(Self::Server);
        }
        match text.split_once('/')? {
            ("endpoint", id) => Some(Self::Endpoint(EndpointId::parse(id).ok()?)),
            ("gpu", index) => Some(Self::Gpu(index.parse().ok()?)),
            ("worker", rest) => {
                let (endpoint, worker) = rest.split_once('/')?;
                Some(Self::Worker(EndpointId::parse(endpoint).ok()?, WorkerId::parse(worker).ok()?))
            }
            _ => None,
        }
    }

    /// What kind of subject it is.
    pub fn of(&self) -> Of {
        match self {
            Self::Server => Of::Server,
            Self::Endpoint(_) => Of::Endpoint,
            Self::Gpu(_) => Of::Gpu,
            Self::Worker(..) => Of::Worker,
        }
    }

    /// The endpoint that it belongs to.
    pub fn endpoint(&self) -> Option<&EndpointId> {
        match self {
            Self::Endpoint(id) | Self::Worker(id, _) => Some(id),
            Self::Server | Self::Gpu(_) => None,
        }
    }

    /// Whether it is kept beyond two days: there is no end to workers.
    pub fn is_lasting(&self) -> bool {
        !matches!(self, Self::Worker(..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_read_back() {
        let endpoint = EndpointId::new("e1");
        for subject in [
            Subject::Server,
            Subject::Endpoint(endpoint.clone()),
            Subject::Gpu(3),
            Subject::Worker(endpoint, WorkerId::new("w1")),
        ] {
            assert_eq!(Subject::parse(&subject.to_string()), Some(subject));
        }
        for text in ["", "gpu", "gpu/x", "worker/e1", "endpoint/a b", "planet/3"] {
            assert_eq!(Subject::parse(text), None, "{text}");
        }
    }
}
