//! Which GPUs a new worker gets, and which idle worker of another endpoint yields where none is free.

use crate::{EndpointId, FlashBoot, Gpu, Gpus, Timestamp, WorkerId};

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
    /// How readily it yields, where it could.
    pub flash_boot: FlashBoot,
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
    /// The machine has none, or too few.
    Never,
}

/// Places a worker of `endpoint` on a machine. Of what is wanted the first type that is free is taken; where none is, the
/// first on which one comes free, then the first that idle workers of others can yield.
pub fn place(machine: &[Gpu], held: &[Held], endpoint: &EndpointId, wanted: &Gpus) -> Placement {
    if wanted.is_none() {
        return Placement::On(Vec::new());
    }
    let count = wanted.count() as usize;
    let mut groups = wanted.groups(machine);
    groups.retain(|group| group.len() >= count);
    if groups.is_empty() {
        return Placement::Never;
    }
    let free = |group: &[u32]| -> Vec<u32> {
        group.iter().copied().filter(|gpu| !held.iter().any(|h| h.gpus.contains(gpu))).collect()
    };
    let of = |h: &Held, group: &[u32]| h.gpus.iter().filter(|gpu| group.contains(gpu)).count();
    let missing = |group: &[u32]| {
        let leaving: usize = held.iter().filter(|h| h.leaving).map(|h| of(h, group)).sum();
        count.saturating_sub(free(group).len() + leaving)
    };
    if let Some(free) = groups.iter().map(|group| free(group)).find(|free| free.len() >= count) {
        return Placement::On(free[..count].to_vec());
    }
    if groups.iter().any(|group| missing(group) == 0) {
        return Placement::WaitForLeaving;
    }
    let mut idle: Vec<&Held> = held
        .iter()
        .filter(|h| h.endpoint != *endpoint && h.spare && !h.leaving && h.idle_since.is_some())
        .collect();
    idle.sort_by_key(|h| (h.flash_boot, h.idle_since));
    for group in &groups {
        let mut missing = missing(group);
        let mut yields = Vec::new();
        for h in idle.iter().filter(|h| of(h, group) > 0) {
            if missing == 0 {
                break;
            }
            missing = missing.saturating_sub(of(h, group));
            yields.push(h.worker.clone());
        }
        if missing == 0 {
            return Placement::AfterYield(yields);
        }
    }
    let holds = |h: &&Held| groups.iter().any(|group| of(h, group) > 0);
    let mut holders: Vec<EndpointId> = held.iter().filter(holds).map(|h| h.endpoint.clone()).collect();
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
            flash_boot: FlashBoot::On,
            leaving: false,
        }
    }

    fn cards(count: usize) -> Vec<Gpu> {
        vec![Gpu::named("GPU"); count]
    }

    fn gpus(text: &str) -> Gpus {
        text.parse().unwrap_or_else(|why| panic!("{why}"))
    }

    #[test]
    fn free_gpus_are_given_lowest_first() {
        let e = EndpointId::new("a");
        assert_eq!(place(&cards(2), &[held("w", "b", &[0], None)], &e, &1.into()), Placement::On(vec![1]));
        assert_eq!(place(&cards(2), &[], &e, &3.into()), Placement::Never);
        assert_eq!(place(&[], &[], &e, &0.into()), Placement::On(vec![]));
    }

    #[test]
    fn the_longest_idle_worker_of_another_endpoint_yields() {
        let e = EndpointId::new("a");
        let mut all = [held("old", "b", &[0], Some(1)), held("new", "c", &[1], Some(9))];
        let yields = |name: &str| Placement::AfterYield(vec![WorkerId::new(name)]);
        assert_eq!(place(&cards(2), &all, &e, &1.into()), yields("old"));
        all[0].flash_boot = FlashBoot::Priority;
        assert_eq!(place(&cards(2), &all, &e, &1.into()), yields("new"), "one of priority yields last");
        all[0].flash_boot = FlashBoot::On;
        all[1].flash_boot = FlashBoot::Off;
        assert_eq!(
            place(&cards(2), &all, &e, &1.into()),
            yields("new"),
            "one without FlashBoot yields first"
        );
        let own = [held("mine", "a", &[0], Some(1))];
        assert_eq!(place(&cards(1), &own, &e, &1.into()), Placement::Full { holders: vec![e] });
    }

    #[test]
    fn busy_workers_are_named_as_holders() {
        let e = EndpointId::new("a");
        let got = place(&cards(1), &[held("w", "b", &[0], None)], &e, &1.into());
        assert_eq!(got, Placement::Full { holders: vec![EndpointId::new("b")] });
    }

    #[test]
    fn the_first_type_that_is_free_is_taken_and_all_gpus_are_of_it() {
        let e = EndpointId::new("a");
        let machine = ["NVIDIA A40", "NVIDIA L4", "NVIDIA A40", "NVIDIA L4"].map(Gpu::named);
        let on = |held: &[Held], wish: &str| place(&machine, held, &e, &gpus(wish));
        assert_eq!(on(&[], "l4,a40"), Placement::On(vec![1]));
        assert_eq!(on(&[], "2xa40"), Placement::On(vec![0, 2]));
        assert_eq!(on(&[], "24GB"), Placement::On(vec![1]), "the smallest that has so much");
        assert_eq!(on(&[], "3"), Placement::Never, "no type has three");
        assert_eq!(on(&[], "h100"), Placement::Never);
        let both = [held("w", "b", &[1, 3], None)];
        assert_eq!(on(&both, "l4,a40"), Placement::On(vec![0]));
        assert_eq!(on(&both, "l4"), Placement::Full { holders: vec![EndpointId::new("b")] });
        let half = [held("w", "b", &[0], None), held("v", "c", &[1], Some(5))];
        assert_eq!(on(&half, "2"), Placement::AfterYield(vec![WorkerId::new("v")]));
        let mut leaves = half;
        leaves[0].leaving = true;
        assert_eq!(on(&leaves, "2"), Placement::WaitForLeaving);
    }
}
