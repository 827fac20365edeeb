//! How a consumer is waited for from outside: by a set of rings, by an event loop.

use std::os::fd::AsFd;
use std::time::Duration;

use disruptor_mp::{
    Consumer, Deadline, Heap, HeapRing, Producer, Readiness, RecvError, RingMember, RingSet,
};
use myelon_tests::Record;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::Failure;
use crate::options::Words;

/// What waits for the next event: `by=set`, `by=loop`, or the consumer itself.
pub(crate) enum Waits {
    Itself,
    /// A set of this consumer and of one of a ring that stays silent, as its producer does.
    Set(Box<(Consumer<u64, Heap>, Producer<u64, Heap>)>),
    Loop(Readiness),
}

impl Waits {
    pub(crate) fn of<B: 'static>(
        rx: &Consumer<Record, B>,
        words: &Words<'_>,
    ) -> Result<Self, Failure> {
        Ok(match words.get("by") {
            None => Self::Itself,
            Some("loop") => Self::Loop(rx.readiness()?),
            Some(_) => {
                let ring = HeapRing::new(1)?;
                // a set looks up as often as its most watchful member: that is the other one
                let silent = ring.builder().with_liveness_interval(Duration::MAX);
                Self::Set(Box::new((silent.build_consumer()?, ring.producer()?)))
            }
        })
    }

    /// Until the consumer's next call does not wait. An event loop is not told here of its producer's death.
    pub(crate) fn until_news<B>(
        &self,
        rx: &Consumer<Record, B>,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        match self {
            Self::Itself => {}
            Self::Set(silent) => {
                let mut set = RingSet::of([rx as &dyn RingMember, &silent.0])?;
                assert_eq!(set.wait(deadline)?, 0, "the other ring is silent");
            }
            Self::Loop(readiness) => {
                while !readiness.arm(rx)? {
                    let patience = deadline.remaining().map_or(PollTimeout::NONE, |rest| {
                        PollTimeout::try_from(rest).unwrap_or(PollTimeout::MAX)
                    });
                    let mut descriptors = [PollFd::new(readiness.as_fd(), PollFlags::POLLIN)];
                    if poll(&mut descriptors, patience)? == 0 {
                        return Err(RecvError::Timeout.into());
                    }
                }
            }
        }
        Ok(())
    }
}
