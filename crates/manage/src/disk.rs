//! The disk: what takes space, what would go, and having it go now. Who keeps house stands behind [`DiskKeeper`].

use axum::Json;
use axum::extract::State;
use runyard_domain::Access;
use runyard_runtime::Pending;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Manage;
use crate::auth::Auth;
use crate::problem::Problem;
use crate::stream::Body;

/// One thing that takes space: an environment, a log, a cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiskItem {
    /// What people know it by.
    pub name: String,
    /// On the disk.
    pub bytes: u64,
    /// Whether it goes when the disk is pruned.
    pub goes: bool,
    /// Why it stays, or goes.
    pub why: String,
}

/// Things of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiskAccount {
    /// `environments`, `bundles`, `logs`.
    pub kind: &'static str,
    /// Why not all of them are known, where that is so.
    pub unknown: Option<String>,
    /// All of them.
    pub items: Vec<DiskItem>,
}

/// Who keeps house over the data directory.
pub trait DiskKeeper: Send + Sync {
    /// What takes space, by kind.
    fn usage(&self) -> Pending<'_, Result<Vec<DiskAccount>, String>>;
    /// Removes what nobody needs; says what it removed.
    fn prune(&self) -> Pending<'_, Result<Vec<DiskAccount>, String>>;
}

/// Items of an account that are listed; all of them are counted.
const LISTED: usize = 100;

pub(crate) async fn show(State(manage): State<Manage>, auth: Auth) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Admin, None)?;
    let accounts = manage.inner.disk.usage().await.map_err(failed)?;
    let mut answer = view(&accounts, |_| true);
    let room = manage.inner.engine.room();
    answer["freeBytes"] = json!(room.map(|room| room.free));
    Ok(Json(answer))
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Prune {
    #[serde(default)]
    dry_run: bool,
}

pub(crate) async fn prune(
    State(manage): State<Manage>,
    auth: Auth,
    body: Body<Prune>,
) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Admin, None)?;
    let request = body.read()?;
    if manage.inner.info.offline && !request.dry_run {
        // Workers may live on without a server, and only it knows them.
        return Err(Problem::conflict(
            "no server runs on this data directory, so nothing is removed from it",
        )
        .hint("runyard up"));
    }
    let keeper = &manage.inner.disk;
    let accounts = if request.dry_run { keeper.usage().await } else { keeper.prune().await };
    let mut answer = view(&accounts.map_err(failed)?, |item| item.goes);
    answer["dryRun"] = json!(request.dry_run);
    Ok(Json(answer))
}

fn failed(why: String) -> Problem {
    Problem::internal(&std::io::Error::other(why))
}

/// Accounts with their sums, of the items that count.
fn view(accounts: &[DiskAccount], counts: impl Fn(&DiskItem) -> bool) -> Value {
    let sum = |items: &[&DiskItem]| items.iter().map(|item| item.bytes).sum::<u64>();
    let (mut all, mut going) = (0, 0);
    let views: Vec<Value> = accounts
        .iter()
        .map(|account| {
            let mut items: Vec<&DiskItem> = account.items.iter().filter(|item| counts(item)).collect();
            // What goes first, then the largest.
            items.sort_by_key(|item| (!item.goes, std::cmp::Reverse(item.bytes)));
            let goes: Vec<&DiskItem> = items.iter().copied().filter(|item| item.goes).collect();
            let (bytes, gone) = (sum(&items), sum(&goes));
            all += bytes;
            going += gone;
            let listed = &items[..items.len().min(LISTED)];
            json!({
                "kind": account.kind, "unknown": account.unknown, "bytes": bytes, "things": items.len(),
                "goesBytes": gone, "goesThings": goes.len(), "items": listed,
            })
        })
        .collect();
    json!({"bytes": all, "goesBytes": going, "accounts": views})
}
