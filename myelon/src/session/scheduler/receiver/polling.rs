//! What the rings of the workers have: whose turn it is, and who has died or is not there yet.

use std::time::{Duration, Instant};

use disruptor_mp::{Deadline, RecvError, RingMember, Sequence};

use super::super::super::clock::{NextCheck, coarse_now};
use super::super::super::head::{Head, RequestId};
use super::super::super::received::{Checks, Fit, head_at_once, next_head, next_sequence};
use super::super::calls::UNTIL_IT_SAYS_SO;
use super::ResponseReceiver;
use super::handed_out::NOWHERE;
use crate::transport::{FramedTransportFrame, TransportResult};

/// A worker that sends without a pause is received for many messages before the next one's turn: it runs beside this
/// process then, and neither has to wake the other. After this many messages it is decided whether its turn goes on...
const IN_A_STRETCH: usize = 64;

/// ...which it does until the coarse clock goes on, every few milliseconds, and until all workers, if each of them
/// sends without a pause, would have had this many messages in all.
const IN_A_ROUND: usize = 1 << 16;

/// How often a scheduler checks whether the rings of missing workers exist.
const WORKER_CHECK_INTERVAL: Duration = Duration::from_millis(10);

impl<F: FramedTransportFrame, B> ResponseReceiver<F, B> {
    /// The rank of the worker whose turn it is, and the head of its next message, if that is there at first sight and
    /// no answer was kept.
    #[inline(always)]
    pub(in crate::session) fn next_in_turn(&mut self) -> Option<(usize, Head)> {
        if !self.kept.is_empty() || self.left_in_stretch == 0 && !self.begins_stretch() {
            return None;
        }
        self.left_in_stretch -= 1;
        let rank = self.turn;
        Some((rank, self.next_at_once(rank)?))
    }

    /// Whether the turn goes on. If it does, a stretch begins.
    #[cold]
    #[inline(never)]
    fn begins_stretch(&mut self) -> bool {
        let now = coarse_now();
        if self.stretches_left == 0 || *self.turn_began.get_or_insert(now) != now {
            self.stretches_left = 0;
            return false;
        }
        self.stretches_left -= 1;
        self.left_in_stretch = IN_A_STRETCH;
        true
    }

    /// As [`next_of`](Self::next_of), if that is the ring's next frame, and is there.
    #[inline(always)]
    pub(super) fn next_at_once(&mut self, rank: usize) -> Option<Head> {
        let ring = self.answers.rings.get_mut(rank)?.as_mut()?;
        let sequence = next_sequence(ring);
        let head = head_at_once(ring)?;
        let fit = self.handed_out[rank].fit(self.first, &self.last_sent, head, sequence);
        (fit == Fit::Fits && self.are_dead & 1 << rank == 0).then_some(head)
    }

    /// Waits for a worker that has a whole message, and returns its rank.
    pub(super) fn wait_for_any(&mut self, deadline: Deadline) -> TransportResult<(usize, Head)> {
        let mut started = None;
        loop {
            self.attach_workers()?;
            self.found_dead = 0;
            if let Some(found) = self.poll(Checks::Quick)? {
                return Ok(found);
            }
            match self.answers.places.config.go_on_until(deadline) {
                Ok(()) => {
                    let started = *started.get_or_insert_with(Instant::now);
                    // the wait for a ring ends once in a liveness interval while its worker is dead
                    if self.found_dead != 0 && started.elapsed() >= UNTIL_IT_SAYS_SO {
                        self.say_what_it_waits_for(self.found_dead);
                    }
                    self.sleep(None, deadline)?;
                }
                Err(RecvError::Timeout) => {
                    let found = self.poll(Checks::AndLiveness)?;
                    return found.ok_or_else(|| RecvError::Timeout.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The last frame that was released of what the worker `rank` sends.
    pub(in crate::session) fn heard(&mut self, rank: usize) -> Option<Sequence> {
        let ring = self.answers.rings[rank].as_mut()?;
        Some(next_sequence(ring) - 1)
    }

    /// The next call attaches to the rings of workers that have started, whenever the last check was.
    pub(in crate::session) fn attach_workers_now(&mut self) {
        self.next_check = NextCheck::now();
    }

    /// Attaches to the rings of workers that have started since the last check.
    #[inline]
    pub(super) fn attach_workers(&mut self) -> TransportResult<()> {
        match self.is_complete {
            true => Ok(()),
            false => self.attach_missing(),
        }
    }

    #[cold]
    fn attach_missing(&mut self) -> TransportResult<()> {
        if !self.next_check.is_due(WORKER_CHECK_INTERVAL) {
            return Ok(());
        }
        let mut missing = self.answers.missing().into_iter();
        missing.try_for_each(|rank| self.answers.attach(rank))?;
        self.is_complete = self.answers.missing().is_empty();
        Ok(())
    }

    /// The rank of a worker that has a whole message, if there is one: the next one after the last turn. It is this
    /// worker's turn then.
    fn poll(&mut self, checks: Checks) -> TransportResult<Option<(usize, Head)>> {
        let workers = self.answers.rings.len();
        let next = self.turn + 1;
        for rank in (next..workers).chain(0..next.min(workers)) {
            if let Some(head) = self.next_of(rank, checks)? {
                self.turn = rank;
                self.left_in_stretch = IN_A_STRETCH - 1;
                self.stretches_left = IN_A_ROUND / IN_A_STRETCH / workers;
                self.turn_began = None;
                return Ok(Some((rank, head)));
            }
        }
        Ok(None)
    }

    /// The head of the next message from the worker `rank`, if there is one.
    pub(super) fn next_of(&mut self, rank: usize, checks: Checks) -> TransportResult<Option<Head>> {
        let Some(responses) = &mut self.answers.rings[rank] else {
            return Ok(None);
        };
        let handed_out = &self.handed_out[rank];
        let mut unknown = None;
        let fit = |head: Head, sequence| {
            let fit = handed_out.fit(self.first, &self.last_sent, head, sequence);
            if fit == Fit::IsUnknown {
                unknown = head.request();
            }
            fit
        };
        let found = next_head(responses, checks, &mut self.answers.dropped[rank], fit);
        if let Some(request) = unknown {
            self.tell_of_unknown(rank, request);
        }
        match found {
            Ok(head) => {
                if head.is_some() && self.are_dead & 1 << rank != 0 {
                    self.are_dead &= !(1 << rank);
                    self.dead[rank] = None;
                }
                Ok(head)
            }
            Err(error) => self.end_of(rank, error),
        }
    }

    /// What the end of the ring of the worker `rank`, or another error of it, means.
    #[cold]
    fn end_of(&mut self, rank: usize, error: RecvError) -> TransportResult<Option<Head>> {
        match error {
            // a successor of the worker continues in the same ring
            RecvError::ProducerDead { owner } => {
                self.found_dead |= 1 << rank;
                if self.dead[rank].as_ref() != Some(&owner) {
                    self.dead[rank] = Some(owner);
                    self.are_dead |= 1 << rank;
                    self.told_of_absence &= !(1 << rank);
                }
                Ok(None)
            }
            // a wait is cancelled, not an answer that is there
            RecvError::Cancelled => Ok(None),
            // a successor of the worker creates another ring, whose sequences start anew
            RecvError::Closed => {
                self.answers.rings[rank] = None;
                self.is_complete = false;
                self.handed_out[rank].at = NOWHERE;
                Ok(None)
            }
            error => Err(error.into()),
        }
    }

    /// Says in the log, once of each worker, that it has answered a request that was not sent. A worker that keeps to
    /// the protocol does not.
    #[cold]
    fn tell_of_unknown(&mut self, rank: usize, request: RequestId) {
        if self.told_of_unknown & 1 << rank == 0 {
            self.told_of_unknown |= 1 << rank;
            tracing::warn!(
                session = self.answers.places.config.session,
                "worker {rank} has answered request {request}, which was not sent: such answers are dropped"
            );
        }
    }

    /// Waits until one of the rings, or that of the worker `only`, has news, or until it is time to check for missing
    /// workers again.
    pub(super) fn sleep(&mut self, only: Option<usize>, deadline: Deadline) -> TransportResult<()> {
        self.sleep_beside(only, None, deadline)
    }

    /// As `sleep`; a `bell` that rings ends the wait as well.
    pub(in crate::session) fn sleep_beside(
        &mut self,
        only: Option<usize>,
        bell: Option<&dyn RingMember>,
        deadline: Deadline,
    ) -> TransportResult<()> {
        let until = match self.is_complete {
            true => deadline,
            false => deadline.within(WORKER_CHECK_INTERVAL),
        };
        let rings = self.answers.rings.iter_mut().enumerate();
        let rings = rings
            .filter(|(rank, _)| only.is_none_or(|only| only == *rank))
            .filter_map(|(_, ring)| ring.as_mut())
            .map(|ring| ring.raw().as_ring() as &dyn RingMember);
        let rings: Vec<_> = rings.chain(bell).collect();
        match self.waiter.wait(&rings, until) {
            Ok(_) | Err(RecvError::Timeout) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
