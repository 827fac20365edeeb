//! Until when gatherings wait.

use std::collections::BTreeSet;
use std::time::Instant;

use disruptor_mp::Deadline;

use super::super::super::head::RequestId;

/// The deadlines of the requests that have one, the soonest first.
#[derive(Debug, Default)]
pub(super) struct Limits(BTreeSet<(Instant, RequestId)>);

impl Limits {
    pub(super) fn add(&mut self, deadline: Deadline, request: RequestId) {
        if let Some(rest) = deadline.remaining() {
            self.0.insert((Instant::now() + rest, request));
        }
    }

    /// Takes out a request whose deadline has passed.
    pub(super) fn pop_passed(&mut self) -> Option<RequestId> {
        let (instant, _) = self.0.first()?;
        match *instant <= Instant::now() {
            true => self.0.pop_first().map(|(_, request)| request),
            false => None,
        }
    }

    /// The soonest deadline. Forgets the requests before it that are not under way any more.
    pub(super) fn next(&mut self, is_under_way: impl Fn(RequestId) -> bool) -> Option<Instant> {
        while let Some((instant, request)) = self.0.first() {
            if is_under_way(*request) {
                return Some(*instant);
            }
            self.0.pop_first();
        }
        None
    }
}
