//! What the thread of an [`AsyncScheduler`](crate::AsyncScheduler) needs.

use std::time::Duration;

use disruptor_mp::{Deadline, RingMember};

use super::super::head::{HEAD_BYTES, RequestId};
use super::Scheduler;
use super::sender::Awaits;
use crate::transport::{FramedTransportFrame, TransportResult};

impl<Req: FramedTransportFrame, Resp: FramedTransportFrame, B> Scheduler<Req, Resp, B> {
    pub(in crate::session) fn label(&self) -> &str {
        self.sender.session()
    }

    pub(in crate::session) fn workers(&self) -> usize {
        self.receiver.workers()
    }

    pub(in crate::session) fn next_request(&self) -> RequestId {
        self.sender.next_request()
    }

    pub(in crate::session) fn liveness_interval(&self) -> Duration {
        self.sender.liveness_interval()
    }

    pub(in crate::session) fn is_to_check(&self) -> bool {
        self.sender.is_to_check()
    }

    pub(in crate::session) fn is_kept_for(&mut self, rank: usize) -> bool {
        self.sender.is_kept_for(rank)
    }

    pub(in crate::session) fn why_no_answer(&mut self, rank: usize) -> String {
        self.sender.why_no_answer(rank)
    }

    pub(in crate::session) fn check_for_deaths(&mut self, awaits: Awaits) -> TransportResult<()> {
        self.sender.check_for_deaths(awaits)
    }

    pub(in crate::session) fn warn_of_the_absent(&mut self, only: Option<usize>) {
        self.sender.warn_of_the_absent(only);
    }

    /// As many messages as all workers' rings hold.
    pub(in crate::session) fn answers_max(&self) -> usize {
        self.receiver.answers_max()
    }

    pub(in crate::session) fn attach_workers_now(&mut self) {
        self.receiver.attach_workers_now();
    }

    /// Waits until a worker's ring has news or the bell rings, or until it is time to check for missing workers.
    pub(in crate::session) fn sleep_beside(
        &mut self,
        bell: &dyn RingMember,
        deadline: Deadline,
    ) -> TransportResult<()> {
        self.receiver.sleep_beside(None, Some(bell), deadline)
    }

    /// Whether a message of `len` bytes is sent in several runs: a call that does not wait cannot send it.
    pub(in crate::session) fn takes_runs(&mut self, len: usize) -> bool {
        let ring = self.sender.transport();
        let frames = (ring.depth() / 2).max(1);
        len.saturating_add(HEAD_BYTES) > ring.frame_limit().saturating_mul(frames)
    }
}
