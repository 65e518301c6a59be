//! Every account together: what they hold, and the removal of what may go.

use runyard_manage::{DiskAccount, DiskItem};

use super::account::{Account, Fate, Look, Thing};

/// The most that one sweep removes.
const MOST: usize = 5_000;

/// Removes what may go, account by account; says what is gone.
pub(super) fn clear(accounts: &[Box<dyn Account>], look: &Look<'_>) -> Vec<DiskAccount> {
    let mut left = MOST;
    let mut clear = |account: &dyn Account| {
        let mut items = Vec::new();
        for thing in account.things(look) {
            let Fate::Goes(_) = &thing.fate else { continue };
            if left == 0 {
                break;
            }
            left -= 1;
            let item = item(account, &thing);
            match account.remove(&thing) {
                Ok(true) => items.push(item),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(path = %thing.path.display(), %error, "what nobody needs could not be removed");
                }
            }
        }
        DiskAccount { kind: account.kind(), unknown: account.unknown(), items }
    };
    accounts.iter().map(|account| clear(&**account)).collect()
}

/// Everything that takes space.
pub(super) fn usage(accounts: &[Box<dyn Account>], look: &Look<'_>) -> Vec<DiskAccount> {
    let usage = |account: &dyn Account| DiskAccount {
        kind: account.kind(),
        unknown: account.unknown(),
        items: account.things(look).iter().map(|thing| item(account, thing)).collect(),
    };
    accounts.iter().map(|account| usage(&**account)).collect()
}

fn item(account: &dyn Account, thing: &Thing) -> DiskItem {
    let (goes, why) = match &thing.fate {
        Fate::Stays(why) => (false, why.clone()),
        Fate::Goes(why) => (true, (*why).to_owned()),
    };
    DiskItem { name: thing.name.clone(), bytes: account.size(thing), goes, why }
}
