//! Every operation, by what it is about. A new call of `/api/v1` gets its row in one of these files.

mod access;
mod endpoints;
mod jobs;
mod resources;
mod server;

use serde_json::Value;

use super::operation::{Door, Operation};
use super::shape::{list, named, object, or_null, text};

/// Those of every file, in the order of the document.
pub(super) fn all() -> Vec<(&'static str, Operation)> {
    [
        endpoints::endpoints(),
        endpoints::plans(),
        endpoints::git(),
        jobs::jobs(),
        jobs::workers(),
        resources::resources(),
        resources::catalogue(),
        access::access(),
        server::server(),
    ]
    .into_iter()
    .flat_map(|(tag, all)| all.into_iter().map(move |operation| (tag, operation)))
    .collect()
}

type Tagged = (&'static str, Vec<Operation>);

/// One does it by this command.
const fn by(command: &'static str) -> Door {
    Door::Command(command)
}

/// A page of a list.
fn page(field: &str, of: &str) -> Value {
    object([(field, list(named(of))), ("nextCursor", or_null(text()))])
}

/// A whole list.
fn whole_list(field: &str, of: &str) -> Value {
    object([(field, list(named(of)))])
}
