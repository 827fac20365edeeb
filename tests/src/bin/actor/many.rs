//! Ways to wait for a consumer's event from outside: a set of rings, an event loop, or a task on tokio.

use std::os::fd::AsFd;
use std::time::Duration;

use disruptor_mp::{
    AsyncConsumer, Consumer, Deadline, Heap, HeapRing, Producer, Readiness, RecvError, RingMember,
    RingSet,
};
use myelon_tests::{Record, Tally};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::runtime;
use tokio::time::timeout;

use crate::Failure;
use crate::books::Sightings;
use crate::options::Words;

/// The party that waits for the next event: a set (`by=set`), an event loop (`by=loop`), or the consumer itself.
pub(crate) enum Waits {
    Itself,
    /// A set of this consumer and of a second one, on a ring whose producer publishes nothing.
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
                // a set makes liveness checks at the shortest interval of its members, which is that of the
                // other consumer
                let silent = ring.builder().with_liveness_interval(Duration::MAX);
                Self::Set(Box::new((silent.build_consumer()?, ring.producer()?)))
            }
        })
    }

    /// Waits until the consumer's next call will not wait. An event loop gets no notification of its producer's
    /// death here.
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

/// `recv n= ms= by=task`: like `recv`, as a future in a runtime of one thread.
pub(crate) fn receive_as_task<B: 'static>(
    rx: &mut Option<Consumer<Record, B>>,
    words: &Words<'_>,
    sightings: &mut Sightings,
) -> Result<Tally, Failure> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut task = AsyncConsumer::new(rx.take().expect("a consumer"))?;
        let received = receive_all(&mut task, words, sightings).await;
        *rx = Some(task.into_inner());
        received
    })
}

async fn receive_all<B: 'static>(
    task: &mut AsyncConsumer<Record, B>,
    words: &Words<'_>,
    sightings: &mut Sightings,
) -> Result<Tally, Failure> {
    let (mut tally, deadline) = (Tally::new(), words.deadline());
    while tally.count < words.number_or("n", 1) as u64 {
        let patience = deadline.remaining().unwrap_or(Duration::MAX);
        let received = timeout(patience, task.recv()).await;
        let lease = received.unwrap_or(Err(RecvError::Timeout))?;
        sightings.count_in(&mut tally, lease.sequence(), &lease)?;
    }
    Ok(tally)
}
