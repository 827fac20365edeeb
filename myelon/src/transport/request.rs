//! The numbers of a session's requests. They are here because errors of this layer name them; `session` makes them and
//! has their public names.

use core::fmt;

/// Tells a session from earlier ones of the same label, whose answers may still be unread: 24 bits made from the time
/// at which the common ring was created. Numbers of requests go up as long as that ring lives, and begin anew with the
/// next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionMark(u32);

impl SessionMark {
    pub(crate) fn of(common_ring_created: u64) -> Self {
        // all bits of the time count
        let mixed = common_ring_created.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self((mixed >> 40) as u32)
    }

    /// The mark with these bits, of which a head carries 24.
    #[inline(always)]
    pub(crate) fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    #[inline(always)]
    pub(crate) fn bits(self) -> u32 {
        self.0
    }
}

/// The number of a request within its session. The numbers of one scheduler go up in the order in which it sends, and
/// those of its successor are higher.
///
/// # Examples
///
/// ```
/// # use myelon::transport::FixedFrame;
/// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
/// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
/// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
/// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
/// let to_all = scheduler.broadcast(b"weights", 1, Deadline::NEVER)?;
/// let to_one = scheduler.send_to(0, b"prompt", 2, Deadline::NEVER)?;
/// assert!(to_all < to_one && to_all.get() < to_one.get());
/// let request = worker.recv(Deadline::NEVER)?;
/// assert_eq!(request.id(), to_all);
/// request.done();
/// # worker.leave()?;
/// # scheduler.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    number: u64,
    session: SessionMark,
}

impl RequestId {
    /// How many bits of a number count the requests of one scheduler; those above are its epoch.
    const COUNT_BITS: u32 = 40;

    /// The first number of the scheduler with this epoch. It is not 0.
    pub(crate) fn first(epoch: u64, session: SessionMark) -> Self {
        Self {
            number: (epoch << Self::COUNT_BITS) + 1,
            session,
        }
    }

    pub(crate) fn next(self) -> Self {
        Self {
            number: self.number + 1,
            ..self
        }
    }

    pub(crate) fn session(self) -> SessionMark {
        self.session
    }

    /// The request whose number and mark a head carries.
    #[inline(always)]
    pub(crate) fn of(number: u64, session: SessionMark) -> Self {
        Self { number, session }
    }

    /// The number as it is sent.
    pub fn get(self) -> u64 {
        self.number
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.number & ((1 << Self::COUNT_BITS) - 1);
        write!(f, "{}.{count}", self.number >> Self::COUNT_BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_reads_as_its_epoch_and_its_count() {
        let id = RequestId::first(7, SessionMark::of(1)).next();
        assert_eq!(id.to_string(), "7.2");
    }

    #[test]
    fn rings_that_were_created_at_different_times_have_different_marks() {
        let now = 1_700_000_000_000_000_000;
        let marks: std::collections::BTreeSet<_> = (0..1000)
            .map(|step| SessionMark::of(now + step * 1_000))
            .collect();
        assert_eq!(marks.len(), 1000);
    }

    #[test]
    fn a_successor_has_higher_numbers() {
        let session = SessionMark::of(1);
        let mut last = RequestId::first(1, session);
        for _ in 0..1000 {
            last = last.next();
        }
        assert!(RequestId::first(2, session) > last && RequestId::first(0, session).get() != 0);
    }
}
