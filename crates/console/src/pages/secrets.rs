//! Secrets: their names and who uses them. No page has a value of one.

use askama::Template;

use crate::call::Trouble;
use crate::frame::Frame;
use crate::pages::page;
use crate::place::Query;
use crate::session::Visit;
use crate::views::Secret;

/// As many secrets are shown.
const MOST: usize = 5_000;

#[derive(Template)]
#[template(path = "secrets.html")]
#[expect(clippy::struct_field_names, reason = "the list has the name of its page")]
pub(crate) struct Secrets {
    frame: Frame,
    secrets: Vec<Secret>,
    /// The one that gets a new value.
    chosen: String,
}

page!(Secrets: );

/// Loads it.
pub(crate) async fn load(visit: &Visit, query: &Query) -> Result<Secrets, Trouble> {
    let mut frame = Frame::new(visit, "/secrets", "Secrets", "/secrets", query);
    frame.stream = None;
    frame.same.cli = vec!["runyard secret list".into(), "runyard secret set NAME".into()];
    frame.same.api = vec!["GET /api/v1/secrets".into(), "PUT /api/v1/secrets/NAME {\"value\": …}".into()];
    frame.same.toml = Some("[env]\nTOKEN = { secret = \"NAME\" }\n".into());
    let (secrets, _) = visit.list::<Secret>("/api/v1/secrets", "secrets", MOST).await?;
    Ok(Secrets { frame, secrets, chosen: query.get("set").unwrap_or_default().to_owned() })
}
