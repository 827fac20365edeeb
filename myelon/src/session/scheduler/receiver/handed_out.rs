//! What a scheduler has handed out of each worker's answers.

use core::sync::atomic::{AtomicU64, Ordering};

use disruptor_mp::Sequence;

use super::super::super::head::{Head, LAST, RequestId};
use super::super::super::received::Fit;

/// What was handed out of one worker's answers. A worker that dies before it has completed a request answers it again,
/// when it comes back. Only one request can be answered again: the one that it had received last. So it is enough to
/// know the highest number that was answered, and how far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HandedOut {
    request: Option<RequestId>,
    /// The piece that has not been handed out.
    next_piece: u32,
    is_complete: bool,
    /// The sequence of the last piece. A piece with this sequence is delivered again: the program has returned it.
    pub(super) at: Sequence,
}

/// No sequence.
pub(super) const NOWHERE: Sequence = -1;

impl HandedOut {
    /// What becomes of a message with this head, at this sequence of its ring, by the first request whose answers are
    /// received and the last number that was given.
    #[inline(always)]
    pub(super) fn fit(
        &self,
        first: RequestId,
        last_sent: &AtomicU64,
        head: Head,
        sequence: Sequence,
    ) -> Fit {
        if head.session() != first.session() {
            return Fit::IsOld;
        }
        let Some(request) = head.request() else {
            return Fit::Fits;
        };
        // read after the answer, which cannot come before its request has its number
        if request.get() > last_sent.load(Ordering::Relaxed) {
            return Fit::IsUnknown;
        }
        match request >= first && !self.has(head, sequence) {
            true => Fit::Fits,
            false => Fit::IsOld,
        }
    }

    /// Whether this piece was handed out before, from another place in the ring. If a repeated answer is shorter, its
    /// last piece counts as new.
    #[inline(always)]
    fn has(&self, head: Head, sequence: Sequence) -> bool {
        let is_last = head.has(LAST);
        head.request().is_some()
            && head.request() == self.request
            && (self.is_complete || head.piece() < self.next_piece && !is_last)
            && sequence != self.at
    }

    #[inline(always)]
    pub(super) fn add(&mut self, head: Head, sequence: Sequence) {
        if head.request().is_some() && head.request() >= self.request {
            *self = Self {
                request: head.request(),
                next_piece: head.piece().saturating_add(1),
                is_complete: head.has(LAST),
                at: sequence,
            };
        }
    }
}
