//! Whom a producer expects: until they have come, it may fill the ring once and no further.
//!
//! Private to the producer. Someone who was seen once counts as latched for good; a successor latches anew from the
//! lines it finds registered (R14).

use crate::Sequence;
use crate::layout::control::{ConsumerId, Control};

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

    /// Latches whom the lines show; says whether somebody is still to come.
    pub(crate) fn is_pending(&mut self, control: &Control) -> bool {
        if self.is_settled() {
            return false;
        }
        for line in control
            .maybe_registered()
            .map(|index| &control.consumers[index])
        {
            if line.state().is_registered() {
                self.any = false;
                let id = line.id();
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
