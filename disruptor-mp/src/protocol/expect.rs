//! Whom a producer expects: until they have come, it may fill the ring once and no further.
//!
//! Private to the producer. Someone who was seen once counts as latched for good; a successor latches anew from the
//! lines it finds registered (R14).

use crate::Sequence;
use crate::layout::control::{ConsumerId, ConsumerLine, Control, LineState};

/// The consumers that were announced to the producer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expectation {
    /// Explicit ids still to come.
    ids: Vec<ConsumerId>,
    /// At least one more consumer of any id is still to come.
    any: bool,
    /// While anybody is still to come, nothing above this sequence is published.
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

    /// Until everybody has come, publish nothing above `sequence`.
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

    /// Expects this id no longer; says whether it was still to come.
    pub(crate) fn forget(&mut self, id: &ConsumerId) -> bool {
        let before = self.ids.len();
        self.ids.retain(|expected| expected != id);
        self.ids.len() < before
    }

    /// Latches whom the lines show; says whether somebody is still to come.
    pub(crate) fn is_pending(&mut self, control: &Control) -> bool {
        if self.is_settled() {
            return false;
        }
        for line in control
            .maybe_registered()
            .map(|index| &control.consumers[index])
        {
            if let Some(id) = occupant(line) {
                self.any = false;
                self.ids.retain(|expected| *expected != id);
            }
        }
        if self.is_settled() {
            self.buffer_until = None;
        }
        !self.is_settled()
    }

    fn is_settled(&self) -> bool {
        self.ids.is_empty() && !self.any
    }

    /// Whether somebody was still to come at the last look.
    pub(crate) fn was_pending(&self) -> bool {
        !self.is_settled()
    }

    /// Who is still to come, in words.
    pub(crate) fn missing(&self) -> Vec<String> {
        let any = self.any.then(|| String::from("any consumer"));
        self.ids.iter().map(ConsumerId::text).chain(any).collect()
    }

    /// The limit, given that the gate allows `most`.
    pub(crate) fn limit(&self, most: Sequence) -> Sequence {
        self.buffer_until
            .map_or(most, |sequence| most.min(sequence))
    }
}

/// Who has a position in this line. Whoever is settling gates, but may yet die and leave none: it would come back to a
/// ring that went on without it.
fn occupant(line: &ConsumerLine) -> Option<ConsumerId> {
    let id = line.id();
    // looked at after the id, the state is not that of an owner before; and the id again, as it may be that of one after
    let has_position = matches!(line.state(), LineState::Active | LineState::Away);
    (has_position && line.id() == id).then_some(id)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::Ordering;

    /// A consumer that is killed while it settles leaves no position: it has to be waited for again.
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
            assert!(!expected.is_pending(&control));
            line.set_state(LineState::Free);
            assert!(!expected.is_pending(&control), "once seen, seen for good");
        }
    }
}
