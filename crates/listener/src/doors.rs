//! Who may come in: counts of connections in all and by address, and who gives way when all are in use.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::pulse::Pulse;
use crate::refusal::Refusal;
use crate::{Limits, is_own};

/// The counts of one listener. Touched when a connection comes and goes, not in between.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    open: usize,
    by_address: HashMap<IpAddr, usize>,
    /// In the order in which they came; those that have sent a request are passed over.
    fresh: VecDeque<Weak<Pulse>>,
}

/// A connection's place; gives it back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    doors: Arc<Doors>,
    address: Option<IpAddr>,
    pub(crate) pulse: Arc<Pulse>,
}

impl Doors {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection from `address`. `None`, this machine's own and those that stand for many have no
    /// share.
    pub(crate) fn enter(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        limits: &Limits,
    ) -> Result<Place, Refusal> {
        let has_share = |address: &IpAddr| !is_own(*address) && !limits.shared.contain(*address);
        let address = address.filter(has_share).map(network);
        let mut inside = self.lock();
        let from_here = address.map_or(0, |address| inside.by_address.get(&address).copied().unwrap_or(0));
        if address.is_some() && from_here >= limits.per_address {
            return Err(Refusal::AddressFull);
        }
        // The one that gives way is gone a moment later, so that there is one too many until then.
        if inside.open >= limits.connections && !inside.evict_one() {
            return Err(Refusal::Full);
        }
        inside.open += 1;
        if let Some(address) = address {
            *inside.by_address.entry(address).or_default() += 1;
        }
        let pulse = Arc::new(Pulse::new());
        if inside.fresh.len() > 2 * limits.connections {
            inside.fresh.retain(|pulse| pulse.upgrade().is_some_and(|pulse| pulse.requests() == 0));
        }
        inside.fresh.push_back(Arc::downgrade(&pulse));
        drop(inside);
        Ok(Place { doors: Arc::clone(self), address, pulse })
    }
}

impl Inside {
    fn evict_one(&mut self) -> bool {
        while let Some(oldest) = self.fresh.pop_front() {
            if let Some(pulse) = oldest.upgrade().filter(|pulse| pulse.requests() == 0) {
                pulse.evicted.notify_one();
                return true;
            }
        }
        false
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.doors.lock();
        inside.open -= 1;
        if let Some(address) = self.address
            && let Some(count) = inside.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                inside.by_address.remove(&address);
            }
        }
    }
}

/// What counts as one address: of IPv6 the /64, which one host may have all of.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accept::tests::limits;

    #[test]
    fn an_address_has_its_share_and_this_machine_all() {
        let (doors, limits) = (Arc::new(Doors::default()), Limits { per_address: 1, ..limits() });
        let first = doors.enter("2001:db8::1".parse().ok(), &limits).expect("the first");
        let refused = doors.enter("2001:db8::2".parse().ok(), &limits).expect_err("the same network");
        assert_eq!(refused, Refusal::AddressFull);
        let _other = doors.enter("2001:db8:0:1::1".parse().ok(), &limits).expect("another network");
        let own = ["127.0.0.1", "::1", "::ffff:127.0.0.1"].map(|own| doors.enter(own.parse().ok(), &limits));
        let own_again = doors.enter("127.0.0.1".parse().ok(), &limits);
        assert!(own.iter().all(Result::is_ok) && own_again.is_ok());
        drop(first);
        doors.enter("2001:db8::2".parse().ok(), &limits).expect("its place is free again");
    }

    #[test]
    fn a_proxy_that_stands_for_many_has_no_share() {
        let shared = "10.0.0.0/8".parse().expect("a network");
        let (doors, limits) = (Arc::new(Doors::default()), Limits { per_address: 1, shared, ..limits() });
        let places = ["10.0.0.1", "10.0.0.1", "11.0.0.1"].map(|from| doors.enter(from.parse().ok(), &limits));
        assert!(places.iter().all(Result::is_ok));
        assert!(doors.enter("11.0.0.1".parse().ok(), &limits).is_err());
    }

    #[test]
    fn who_never_asked_gives_way_and_who_did_stays() {
        let (doors, limits) = (Arc::new(Doors::default()), Limits { connections: 2, ..limits() });
        let asked = doors.enter(None, &limits).expect("room");
        drop(asked.pulse.begin());
        let silent = doors.enter(None, &limits).expect("room");
        let newcomer = doors.enter(None, &limits).expect("the silent one gives way");
        drop(newcomer.pulse.begin());
        drop(silent);
        assert_eq!(doors.enter(None, &limits).expect_err("both asked"), Refusal::Full);
    }
}
