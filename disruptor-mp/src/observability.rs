//! Counters.

use crate::Sequence;

/// A producer's counters.
#[derive(Debug, Default)]
pub(crate) struct ProducerCounters {}

impl ProducerCounters {
    pub(crate) fn count_full(&mut self) {}
    pub(crate) fn bring_up_to_date(&mut self, _next: Sequence) {}
}

/// A consumer's counters.
#[derive(Debug, Default)]
pub(crate) struct ConsumerCounters {}

impl ConsumerCounters {
    pub(crate) fn count_empty(&mut self) {}
    pub(crate) fn bring_up_to_date(&mut self, _next: Sequence) {}
}
