//! The requests to an authority, over the connections that other calls of outside servers take too.

use std::pin::Pin;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, StatusCode};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use runyard_webhooks::{Asker, Reach};

/// Carries requests to wherever the authority is; in private networks too, since who runs the server named it.
pub struct Http(Asker);

impl Http {
    /// One that trusts the authorities that this machine trusts.
    pub fn new() -> Self {
        Self(Asker::new(Reach::Anywhere))
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let asker = self.0.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(|never| -> Error { match never {} })?.to_bytes();
            let url = parts.uri.to_string();
            let said = asker.ask(parts.method, &url, parts.headers, body).await;
            let said = said.map_err(|message| Error::Other(message.into()))?;
            let mut response = Response::new(Full::new(said.body));
            *response.status_mut() =
                StatusCode::from_u16(said.status).map_err(|error| Error::Other(error.into()))?;
            *response.headers_mut() = said.headers;
            Ok(BytesResponse::from(response))
        })
    }
}
