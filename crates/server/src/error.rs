//! Why a server does not start.

use std::path::PathBuf;

/// A start that failed, said so that its reader can act.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A file or folder of the data directory cannot be used.
    #[error("cannot {operation} {path}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Another server has this data directory.
    #[error("another runyard server runs on {0}: stop it first, or use another --data directory")]
    Locked(PathBuf),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The configuration is wrong.
    #[error("{origin}: {message}")]
    Config {
        /// The file, variable or flag.
        origin: String,
        /// What is wrong, and what would be right.
        message: String,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] runyard_listener::TlsError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] runyard_store::StoreError),
    /// The sealing key cannot be used.
    #[error(transparent)]
    Seal(#[from] runyard_vault::SealError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] runyard_engine::EngineError),
    /// Workers cannot be run.
    #[error(transparent)]
    Runtime(#[from] runyard_runtime::RuntimeError),
    /// The fleet could not take over what was there.
    #[error(transparent)]
    Fleet(#[from] runyard_fleet::FleetError),
    /// Releases that were interrupted could not be settled.
    #[error("cannot settle releases whose deploy was interrupted")]
    Releases,
}
