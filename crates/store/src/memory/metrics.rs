//! What was counted and measured, in the model: one map of intervals.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use runyard_domain::reason::fingerprint::GROUPS;
use runyard_domain::{EndpointId, FailureGroup, Job, Timestamp};
use runyard_metrics::{Grain, Interval, Row, Subject, count};

use super::State;
use crate::Reply;

/// The place of what was ever counted.
const TOTAL: i64 = 0;

impl State {
    /// Counts a job's step, and how it failed where it did.
    pub(super) fn mark_job(&mut self, now: Timestamp, before: Option<&Job>, next: &Job) {
        let mut marks = Interval::default();
        count::job(&mut marks, before, next);
        self.mark(now, &next.endpoint, &marks);
        if let Some(fingerprint) = FailureGroup::fingerprint_of(before, next) {
            let groups = self.failures.entry(next.endpoint.clone()).or_default();
            if let Some(group) = FailureGroup::with(groups.remove(&fingerprint), next) {
                groups.insert(fingerprint, group);
            }
        }
    }

    /// Counts something of a job.
    pub(super) fn mark_with(&mut self, now: Timestamp, job: &Job, count: impl FnOnce(&mut Interval)) {
        let mut marks = Interval::default();
        count(&mut marks);
        self.mark(now, &job.endpoint, &marks);
    }

    /// The failures of an endpoint, those first that were seen last.
    pub(super) fn failures_of(&self, endpoint: &EndpointId) -> Vec<FailureGroup> {
        let mut groups: Vec<_> =
            self.failures.get(endpoint).into_iter().flat_map(BTreeMap::values).cloned().collect();
        groups.sort_by_key(|group| (Reverse(group.last_at), group.fingerprint.clone()));
        groups
    }

    /// Of too many groups those go that were seen longest ago.
    pub(super) fn let_failures_go(&mut self) {
        let too_many = self.failures.iter().filter(|(_, groups)| groups.len() > GROUPS);
        let endpoints: Vec<EndpointId> = too_many.map(|(endpoint, _)| endpoint.clone()).collect();
        for endpoint in endpoints {
            let gone = self.failures_of(&endpoint).split_off(GROUPS);
            let Some(groups) = self.failures.get_mut(&endpoint) else { continue };
            for group in gone {
                groups.remove(&group.fingerprint);
            }
        }
    }

    /// Adds what was counted of an endpoint.
    pub(super) fn mark(&mut self, now: Timestamp, endpoint: &EndpointId, marks: &Interval) {
        if !marks.is_empty() {
            self.add(now, Subject::Endpoint(endpoint.clone()), marks);
        }
    }

    pub(super) fn measure(&mut self, now: Timestamp, points: &[(Subject, Interval)]) -> Reply {
        for (subject, more) in points {
            self.add(now, subject.clone(), more);
        }
        self.make(now, Grain::Fine, Grain::Minute);
        self.make(now, Grain::Minute, Grain::Coarse);
        for grain in Grain::ALL {
            let oldest = grain.start(now.plus(-grain.kept_ms()));
            self.intervals.retain(|(_, seconds, at), _| *seconds != grain.seconds() || *at >= oldest);
        }
        Reply::Nothing
    }

    fn add(&mut self, now: Timestamp, subject: Subject, more: &Interval) {
        let at = Grain::Fine.start(now).max(self.made[0]);
        self.intervals.entry((subject, Grain::Fine.seconds(), at)).or_default().merge(more);
    }

    fn make(&mut self, now: Timestamp, from: Grain, into: Grain) {
        let place = usize::from(into == Grain::Coarse);
        let (since, upto) = (self.made[place], into.start(now));
        if upto <= since {
            return;
        }
        let over = self
            .intervals
            .iter()
            .filter(|((_, seconds, at), _)| *seconds == from.seconds() && (since..upto).contains(at));
        let over: Vec<_> = over.map(|((subject, _, at), one)| (subject.clone(), *at, one.clone())).collect();
        for (subject, at, interval) in over {
            if into == Grain::Coarse {
                let is_there = match &subject {
                    Subject::Server => true,
                    Subject::Endpoint(id) => self.endpoints.contains_key(id),
                    _ => false,
                };
                let more = interval.rising();
                if is_there && !more.is_empty() {
                    let key = (subject.clone(), TOTAL, Timestamp(0));
                    self.intervals.entry(key).or_default().merge(&more);
                }
            }
            if into != Grain::Coarse || subject.is_lasting() {
                let key = (subject, into.seconds(), into.start(at));
                self.intervals.entry(key).or_default().merge(&interval);
            }
        }
        self.made[place] = upto;
    }

    /// The intervals of this length, and at the end shorter ones that are part of no such interval yet.
    pub(super) fn rows(
        &self,
        subject: &Subject,
        grain: Grain,
        since: Timestamp,
        until: Timestamp,
    ) -> Vec<Row> {
        let fits = |shorter: Grain, at: Timestamp| {
            let made = match shorter {
                _ if shorter == grain => return true,
                Grain::Fine => self.made[0],
                Grain::Minute => self.made[1],
                Grain::Coarse => return false,
            };
            shorter < grain && at >= made
        };
        let of_subject = self.intervals.iter().filter(|((of, ..), _)| of == subject);
        let mut rows: Vec<Row> = of_subject
            .filter_map(|((_, seconds, at), interval)| {
                let found = Grain::of_seconds(*seconds)?;
                let is_in = (since..until).contains(at) && fits(found, *at);
                is_in.then(|| Row { at: *at, grain: found, interval: interval.clone() })
            })
            .collect();
        rows.sort_by_key(|row| row.at);
        rows
    }

    /// Everything that was ever counted of endpoints and of the server.
    pub(super) fn metric_totals(&self) -> Vec<(Subject, Interval)> {
        let mut totals = BTreeMap::<Subject, Interval>::new();
        for ((subject, seconds, at), interval) in &self.intervals {
            let counts = match *seconds {
                TOTAL => true,
                60 => *at >= self.made[1],
                10 => *at >= self.made[0],
                _ => false,
            };
            if counts && matches!(subject, Subject::Server | Subject::Endpoint(_)) {
                totals.entry(subject.clone()).or_default().merge(&interval.rising());
            }
        }
        totals.retain(|_, total| !total.is_empty());
        totals.into_iter().collect()
    }
}
