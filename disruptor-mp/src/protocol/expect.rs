//! The consumers that a producer expects. Until all of them have come, the producer may fill the ring once
//! and no further.
//!
//! Private to the producer. A consumer that was seen once counts as come for good; a successor reads the
//! lines afresh (R14). A producer that ends before a consumer has come keeps a place for it in the ring.

use crate::Sequence;
use crate::layout::control::{ConsumerId, Control};
use crate::sync::Ordering;

/// The consumers that were announced to the producer and have not come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expectation {
    /// Explicit ids still to come.
    ids: Vec<ConsumerId>,
    /// Whether at least one more consumer of any id is still to come.
    any: bool,
    /// While a consumer is still to come, nothing above this sequence is published.
    buffer_until: Option<Sequence>,
}

impl Expectation {
    /// `ids` and, if `any`, one consumer of any id.
    pub(crate) fn new(ids: Vec<ConsumerId>, any: bool) -> Self {
        Self {
            ids,
            any,
            buffer_until: None,
        }
    }

    /// Until every expected consumer has come, publish nothing above `sequence`.
    pub(crate) fn buffer_until(&mut self, sequence: Sequence) {
        self.buffer_until = Some(sequence);
    }

    /// Adds one consumer of any id.
    pub(crate) fn expect_any(&mut self) {
        self.any = true;
    }

    /// Adds one id.
    pub(crate) fn add(&mut self, id: ConsumerId) {
        if !self.ids.contains(&id) {
            self.ids.push(id);
        }
    }

    /// Expects this id no longer; returns whether it was still to come.
    pub(crate) fn forget(&mut self, id: &ConsumerId) -> bool {
        let before = self.ids.len();
        self.ids.retain(|expected| expected != id);
        self.ids.len() < before
    }

    /// Expects no consumer any longer.
    pub(crate) fn forget_all(&mut self) {
        *self = Self::default();
    }

    /// The ids that are still to come.
    pub(crate) fn ids(&self) -> &[ConsumerId] {
        &self.ids
    }

    /// Whether a consumer of any id is still to come.
    pub(crate) fn is_any_missing(&self) -> bool {
        self.any
    }

    /// Notes which consumers have come; returns whether any is still to come. A consumer that has come and
    /// left counts as come: so this reads all lines, not only the registered ones.
    pub(crate) fn is_pending(&mut self, control: &Control) -> bool {
        if self.is_settled() {
            return false;
        }
        let epoch = control.producer.epoch.load(Ordering::Relaxed);
        for line in &control.consumers {
            if self.any && line.has_come(epoch, |_| true) {
                self.any = false;
            }
            self.ids
                .retain(|expected| !line.has_come(epoch, |id| id == expected));
        }
        if self.is_settled() {
            self.buffer_until = None;
        }
        !self.is_settled()
    }

    fn is_settled(&self) -> bool {
        self.ids.is_empty() && !self.any
    }

    /// Whether a consumer was still to come when [`is_pending`](Self::is_pending) last read the lines.
    pub(crate) fn was_pending(&self) -> bool {
        !self.is_settled()
    }

    /// The consumers that are still to come, in words.
    pub(crate) fn missing(&self) -> Vec<String> {
        let any = self.any.then(|| String::from("any consumer"));
        self.ids.iter().map(ConsumerId::text).chain(any).collect()
    }

    /// The highest sequence that may be published, given that the gate allows `most`.
    pub(crate) fn limit(&self, most: Sequence) -> Sequence {
        self.buffer_until
            .map_or(most, |sequence| most.min(sequence))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::layout::control::LineState;

    /// A consumer that is killed while it settles leaves no position: the producer has to wait for it again.
    #[test]
    fn only_a_line_with_a_position_counts_as_come() {
        let id = ConsumerId::new("risk").expect("an id");
        for expected in [
            Expectation::new(vec![id], false),
            Expectation::new(Vec::new(), true),
        ] {
            let (mut expected, control) = (expected, Control::new(0));
            control.registered.bits.store(1, Ordering::Relaxed);
            let line = &control.consumers[0];
            line.set_id(&id, true);
            for state in [LineState::Free, LineState::Joining, LineState::Settling] {
                line.set_state(state);
                assert!(expected.is_pending(&control), "{state:?}");
            }
            line.set_state(LineState::Active);
            assert!(
                expected.is_pending(&control),
                "a place that is kept for one that has not come"
            );
            line.set_arrived();
            assert!(!expected.is_pending(&control));
            line.set_state(LineState::Free);
            assert!(!expected.is_pending(&control), "once seen, seen for good");
        }
    }

    /// A consumer that came and left for good between two checks of the producer has come.
    #[test]
    fn one_that_left_counts_as_come_under_the_same_producer_only() {
        let id = ConsumerId::new("risk").expect("an id");
        for (epoch, has_come) in [(0, true), (1, false)] {
            for mut expected in [
                Expectation::new(vec![id], false),
                Expectation::new(Vec::new(), true),
            ] {
                let control = Control::new(0);
                let line = &control.consumers[1];
                line.set_id(&id, true);
                line.set_state(LineState::Active);
                line.set_arrived();
                line.set_state(LineState::Free);
                control.producer.epoch.store(epoch, Ordering::Relaxed);
                assert_eq!(expected.is_pending(&control), !has_come);
            }
        }
    }
}
