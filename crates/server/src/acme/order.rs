//! One certificate asked of an authority: the account there, the order, the proofs that the names are ours.

use std::error::Error as _;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount, NewOrder,
    Order, OrderStatus, Problem, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use runyard_listener::{Tls, TlsError};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{file, http::Http};
use crate::config::Acme;

/// How long the authority may take to look at the proofs, and then to sign.
const PATIENCE: Duration = Duration::from_mins(2);

/// What an authority says of an account that it does not know (RFC 8555, section 6.7).
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// The authority refused, or was not reached.
    #[error(transparent)]
    Authority(#[from] Error),
    /// The authority found that a name is not ours.
    #[error("the authority did not find this server at port 443 of {name}: {said}")]
    Unproved {
        /// The name.
        name: String,
        /// In its words.
        said: String,
    },
    /// The order ended without a certificate, and the authority does not say why.
    #[error("the authority ended the order as '{0:?}' and does not say why")]
    Ended(OrderStatus),
    /// The authority proves names in other ways only.
    #[error("the authority offers no proof by TLS (tls-alpn-01) for {0}")]
    NoProof(String),
    /// A proof could not be made.
    #[error("cannot make the proof")]
    Make(#[from] rcgen::Error),
    /// What the authority gave, or the proof for it, cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// It cannot be kept.
    #[error("cannot keep what the authority gave")]
    Keep(#[source] io::Error),
}

impl AcmeError {
    /// With its cause, in one line.
    pub fn sentence(&self) -> String {
        match self.source() {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }
}

/// Asks for a certificate; answers its chain and then its key, in PEM. `tls` shows the proofs meanwhile.
pub async fn certificate(acme: &Acme, folder: &Path, tls: &Tls) -> Result<String, AcmeError> {
    let account = account(acme, folder).await?;
    let outcome = order(&account, acme, tls).await;
    tls.proved();
    if let Err(AcmeError::Authority(Error::Api(problem))) = &outcome
        && problem.r#type.as_deref() == Some(NO_ACCOUNT)
    {
        // The next try makes a new one.
        let _ = fs::remove_file(file::account(folder));
    }
    outcome
}

async fn order(account: &Account, acme: &Acme, tls: &Tls) -> Result<String, AcmeError> {
    let names: Vec<Identifier> = acme.domains.iter().cloned().map(Identifier::Dns).collect();
    let mut order = account.new_order(&NewOrder::new(&names)).await?;
    prove(&mut order, tls).await?;
    let retries = RetryPolicy::default().timeout(PATIENCE);
    match order.poll_ready(&retries).await {
        Ok(OrderStatus::Ready | OrderStatus::Valid) => {}
        Ok(status) => return Err(why(&mut order).await.unwrap_or(AcmeError::Ended(status))),
        Err(error) => return Err(why(&mut order).await.unwrap_or(error.into())),
    }
    let key = order.finalize().await?;
    let chain = order.poll_certificate(&retries).await?;
    Ok(format!("{}\n{key}", chain.trim_end()))
}

/// Has the proof for each name shown, and tells the authority to look.
async fn prove(order: &mut Order, tls: &Tls) -> Result<(), AcmeError> {
    let mut wanted = order.authorizations();
    while let Some(one) = wanted.next().await {
        let mut one = one?;
        if one.status == AuthorizationStatus::Valid {
            continue;
        }
        let name = one.identifier().to_string();
        let challenge = one.challenge(ChallengeType::TlsAlpn01);
        let mut challenge = challenge.ok_or_else(|| AcmeError::NoProof(name.clone()))?;
        let (cert, key) = proof(&name, challenge.key_authorization().digest().as_ref())?;
        tls.prove(&name, cert, key)?;
        challenge.set_ready().await.map_err(|error| match error {
            Error::Api(problem) => unproved(name, &problem),
            error => error.into(),
        })?;
    }
    Ok(())
}

/// A certificate for `name` that holds what the authority wants to see, and its key, both in DER.
fn proof(name: &str, digest: &[u8]) -> Result<(Vec<u8>, Vec<u8>), rcgen::Error> {
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.custom_extensions.push(CustomExtension::new_acme_identifier(digest));
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.der().to_vec(), key.serialize_der()))
}

/// Which proof failed, in the authority's words.
async fn why(order: &mut Order) -> Option<AcmeError> {
    let mut asked = order.authorizations();
    while let Some(one) = asked.next().await {
        let mut one = one.ok()?;
        one.refresh().await.ok()?;
        if let Some(problem) = one.challenges.iter().find_map(|challenge| challenge.error.as_ref()) {
            return Some(unproved(one.identifier().to_string(), problem));
        }
    }
    None
}

fn unproved(name: String, problem: &Problem) -> AcmeError {
    let said = problem.detail.clone().or_else(|| problem.r#type.clone()).unwrap_or_default();
    AcmeError::Unproved { name, said }
}

/// The account that is kept, or a new one. The authority is told where the mail address is another by now.
async fn account(acme: &Acme, folder: &Path) -> Result<Account, AcmeError> {
    let path = file::account(folder);
    let authority = || Account::builder_with_http(Box::new(Http::new()));
    let contact = acme.email.as_ref().map(|email| format!("mailto:{email}"));
    let contact: Vec<&str> = contact.as_deref().into_iter().collect();
    let mut kept = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    if let Some(kept) = kept.as_mut().filter(|kept| kept["directory"] == *acme.directory) {
        let credentials = AccountCredentials::deserialize(&kept["credentials"]).map_err(Error::from)?;
        let account = authority().from_credentials(credentials).await?;
        if kept["email"] != json!(acme.email) {
            account.update_contacts(&contact).await?;
            kept["email"] = json!(acme.email);
            keep(folder, &path, kept)?;
        }
        return Ok(account);
    }
    let terms = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let (account, credentials) = authority().create(&terms, acme.directory.clone(), None).await?;
    let made = json!({ "directory": acme.directory, "email": acme.email, "credentials": credentials });
    keep(folder, &path, &made)?;
    Ok(account)
}

fn keep(folder: &Path, path: &Path, account: &Value) -> Result<(), AcmeError> {
    file::replace(folder, path, account.to_string().as_bytes()).map_err(AcmeError::Keep)
}
