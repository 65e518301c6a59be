//! The listener that local workers talk to: loopback, a port for the agent's life, kept-alive HTTP/1.1.

use std::convert::Infallible;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::agent::Agent;
use crate::forward;

/// Serves workers as long as the agent lives.
pub async fn serve(agent: Arc<Agent>, listener: TcpListener) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "A worker's connection could not be accepted");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        // Answers are small and workers wait for them.
        let _ = stream.set_nodelay(true);
        let agent = Arc::clone(&agent);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let agent = Arc::clone(&agent);
                async move { Ok::<_, Infallible>(forward::answer(agent, request).await) }
            });
            // A connection that breaks is the worker's right; what it held is seen by what is dropped.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
