//! Which GPUs a new worker gets, and which idle worker of another endpoint yields where none is free.

use crate::{EndpointId, Timestamp, WorkerId};

/// GPUs held by one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The incarnation.
    pub worker: WorkerId,
    /// Its endpoint.
    pub endpoint: EndpointId,
    /// Indexes of its GPUs.
    pub gpus: Vec<u32>,
    /// Since when it has had nothing to do; `None` while it starts, runs or drains.
    pub idle_since: Option<Timestamp>,
    /// Whether its endpoint could do without it (it stands above its minimum).
    pub spare: bool,
    /// Whether it is on its way out: its GPUs come free without further doing.
    pub leaving: bool,
}

/// Where a worker can go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// Onto these GPUs (none for a worker that needs none).
    On(Vec<u32>),
    /// First these idle workers have to yield.
    AfterYield(Vec<WorkerId>),
    /// Workers on their way out free enough: wait for them.
    WaitForLeaving,
    /// Every GPU is held by workers that have something to do.
    Full {
        /// Endpoints that hold them.
        holders: Vec<EndpointId>,
    },
    /// The machine has too few.
    Never {
        /// How many there are.
        have: u32,
    },
}

/// Places a worker of `endpoint` that needs `wanted` GPUs on a machine with GPUs `0..have`.
pub fn place(have: u32, held: &[Held], endpoint: &EndpointId, wanted: u32) -> Placement {
    if wanted == 0 {
        return Placement::On(Vec::new());
    }
    if wanted > have {
        return Placement::Never { have };
    }
    let free: Vec<u32> = (0..have).filter(|gpu| !held.iter().any(|h| h.gpus.contains(gpu))).collect();
    if free.len() >= wanted as usize {
        return Placement::On(free[..wanted as usize].to_vec());
    }
    let mut missing = wanted as usize - free.len();
    let leaving: usize = held.iter().filter(|h| h.leaving).map(|h| h.gpus.len()).sum();
    if leaving >= missing {
        return Placement::WaitForLeaving;
    }
    missing -= leaving;
    let mut idle: Vec<&Held> = held
        .iter()
        .filter(|h| h.endpoint != *endpoint && h.spare && !h.leaving && !h.gpus.is_empty())
        .filter(|h| h.idle_since.is_some())
        .collect();
    idle.sort_by_key(|h| h.idle_since);
    let mut yields = Vec::new();
    for h in idle {
        if missing == 0 {
            break;
        }
        missing = missing.saturating_sub(h.gpus.len());
        yields.push(h.worker.clone());
    }
    if missing == 0 {
        return Placement::AfterYield(yields);
    }
    let mut holders: Vec<EndpointId> =
        held.iter().filter(|h| !h.gpus.is_empty()).map(|h| h.endpoint.clone()).collect();
    holders.sort();
    holders.dedup();
    Placement::Full { holders }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(worker: &str, endpoint: &str, gpus: &[u32], idle: Option<i64>) -> Held {
        Held {
            worker: WorkerId::new(worker),
            endpoint: EndpointId::new(endpoint),
            gpus: gpus.to_vec(),
            idle_since: idle.map(Timestamp),
            spare: true,
            leaving: false,
        }
    }

    #[test]
    fn free_gpus_are_given_lowest_first() {
        let e = EndpointId::new("a");
        assert_eq!(place(2, &[held("w", "b", &[0], None)], &e, 1), Placement::On(vec![1]));
        assert_eq!(place(2, &[], &e, 3), Placement::Never { have: 2 });
        assert_eq!(place(0, &[], &e, 0), Placement::On(vec![]));
    }

    #[test]
    fn the_longest_idle_worker_of_another_endpoint_yields() {
        let e = EndpointId::new("a");
        let all = [held("old", "b", &[0], Some(1)), held("new", "c", &[1], Some(9))];
        assert_eq!(place(2, &all, &e, 1), Placement::AfterYield(vec![WorkerId::new("old")]));
        let own = [held("mine", "a", &[0], Some(1))];
        assert_eq!(place(1, &own, &e, 1), Placement::Full { holders: vec![e] });
    }

    #[test]
    fn busy_workers_are_named_as_holders() {
        let e = EndpointId::new("a");
        let got = place(1, &[held("w", "b", &[0], None)], &e, 1);
        assert_eq!(got, Placement::Full { holders: vec![EndpointId::new("b")] });
    }
}
