//! The half of a worker that receives requests.
//!
//! Requests to all workers come in the common ring, and those to this worker in a ring of its own, which the scheduler
//! makes when it first needs it. Each request has a number, and the worker takes the smaller one first. The scheduler
//! publishes request n before request n + 1. So a worker that has found a request in one ring sees every request
//! with a smaller number in the other ring, if it polls that ring afterwards (`rfcs/0008`).

use std::time::Duration;

use disruptor_mp::{
    Deadline, MultiProcessError, MultiProcessResult, RecvError, RingSet, SharedMemory,
};

use super::super::head::{Head, NOTICE, SessionMark};
use super::super::received::{Request, next_head, next_sequence};
use super::super::scheduler::state::COUNT_BITS;
use super::super::{Places, until_it_is_free};
use crate::transport::{
    FramedTransportConsumer, FramedTransportFrame, TransportError, TransportResult,
};
use crate::typed_transport::TypedConsumer;

/// The half of a [`Worker`](super::Worker) that receives requests: [`Worker::split`](super::Worker::split) returns it.
///
/// Dropping it keeps the worker's places in the scheduler's rings for a successor.
///
/// # Examples
///
/// ```
/// # use myelon::transport::FixedFrame;
/// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
/// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
/// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
/// let (mut requests, responses) = Worker::<FixedFrame<256>>::start(&config, 0)?.split();
/// # scheduler.broadcast(b"compute", 1, Deadline::NEVER)?;
/// let request = requests.recv(Deadline::NEVER)?;
/// assert_eq!((&*request, request.kind()), (&b"compute"[..], 1));
/// request.release();
/// println!("worker {}: {:?}", requests.rank(), requests.transport().received());
/// drop(responses);
/// requests.leave()?;
/// # scheduler.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RequestReceiver<F: FramedTransportFrame, B = SharedMemory> {
    /// Requests to all workers.
    common: TypedConsumer<F, B>,
    /// Requests to this worker, once there is a ring for them.
    own: Option<TypedConsumer<F, B>>,
    places: Places<F, B>,
    rank: usize,
    /// The ring of the request that was handed out last.
    last: Source,
    /// The epoch of the scheduler before this worker last polled: so a death is not taken for that of a successor,
    /// whose own would not be told.
    epoch: u64,
    /// The epoch of the scheduler whose death was told.
    dead: Option<u64>,
    /// The process that has the places; a forked child must not take or give up any.
    process: u32,
}

/// The ring that has the next request.
#[derive(Clone, Copy, Debug)]
enum Source {
    Common,
    Own,
}

impl<F: FramedTransportFrame, B> RequestReceiver<F, B> {
    /// Waits for the scheduler's ring.
    pub(super) fn attach(places: Places<F, B>, rank: usize) -> TransportResult<Self> {
        let id = places.config.worker_id(rank);
        // first: once the scheduler finds this worker in the common ring, the worker receives what is sent to it alone
        let own = attach_to_own(&places, rank)?;
        let common = until_it_is_free(|| {
            let builder = places.requests().with_consumer_id(&id).skip_absence();
            let patience = places.config.transport.start_timeout;
            TypedConsumer::from_builder(builder.wait_for_ring(patience))
        })?;
        let mut receiver = Self {
            common,
            own,
            places,
            rank,
            last: Source::Common,
            epoch: 0,
            dead: None,
            process: std::process::id(),
        };
        receiver.epoch = receiver.common.raw().as_ring().ring_epoch();
        // the scheduler announces a ring that it makes after this in the common ring
        receiver.attach_own()?;
        Ok(receiver)
    }

    pub(super) fn session(&mut self) -> SessionMark {
        SessionMark::of(self.common.raw().as_ring().ring_created())
    }

    /// Attaches to the ring of the requests to this worker, if it exists.
    fn attach_own(&mut self) -> TransportResult<()> {
        if self.process != std::process::id() {
            return Err(MultiProcessError::Forked.into());
        }
        if self.own.is_none() {
            self.own = attach_to_own(&self.places, self.rank)?;
        }
        Ok(())
    }

    /// The scheduler's next request: see [`Worker::recv`](super::Worker::recv).
    ///
    /// # Errors
    ///
    /// As [`Worker::recv`](super::Worker::recv).
    pub fn recv(&mut self, deadline: Deadline) -> TransportResult<Request<'_, F, B>> {
        let (source, head) = self.wait(deadline)?;
        self.last = source;
        let ring = match (source, &mut self.own) {
            (Source::Own, Some(own)) => own,
            _ => &mut self.common,
        };
        let delivery = count_delivery(ring);
        // it is there; a hostile peer may have taken it away, or put another one in its place
        let message = ring.recv_raw(Deadline::after(Duration::ZERO))?;
        let head = Head::of(&message).unwrap_or(head);
        Ok(Request::new(message, head, delivery))
    }

    /// Takes back the count of the last delivery, of a request that was returned although nothing is wrong with it.
    pub(super) fn uncount_delivery(&mut self) {
        let ring = match (self.last, &mut self.own) {
            (Source::Own, Some(own)) => own,
            _ => &mut self.common,
        };
        let (of_request, count) = deliveries(ring);
        if let Some(before) = count.checked_sub(1) {
            let ring = ring.raw().as_ring();
            ring.set_note(of_request | u64::from(before));
        }
    }

    /// How often the next request was delivered; waits for it until the deadline.
    pub(super) fn deliveries_of_next(&mut self, deadline: Deadline) -> TransportResult<u32> {
        let (source, _) = self.wait(deadline)?;
        let ring = match (source, &mut self.own) {
            (Source::Own, Some(own)) => own,
            _ => &mut self.common,
        };
        Ok(deliveries(ring).1)
    }

    /// Waits until there is a request, and returns where it is.
    fn wait(&mut self, deadline: Deadline) -> TransportResult<(Source, Head)> {
        loop {
            if let Some(found) = self.poll()? {
                return Ok(found);
            }
            self.places.config.go_on_until(deadline)?;
            self.sleep(deadline)?;
            self.epoch = self.common.raw().as_ring().ring_epoch();
        }
    }

    /// The request with the smallest number, if there is one.
    fn poll(&mut self) -> TransportResult<Option<(Source, Head)>> {
        loop {
            let own = self.poll_own()?;
            let common = match next_head(&mut self.common, |head, _| head.request.is_some()) {
                Ok(common) => common,
                // a wait is cancelled, not a request that is there
                Err(RecvError::Cancelled) => None,
                // everything was sent before the end: requests to this worker are received first
                Err(error @ (RecvError::Closed | RecvError::ProducerDead { .. })) => {
                    self.attach_own()?;
                    let own = own.map_or_else(|| self.poll_own(), |head| Ok(Some(head)))?;
                    return match own {
                        Some(own) => Ok(Some((Source::Own, own))),
                        None => self.tell_of(error),
                    };
                }
                Err(error) => return Err(error.into()),
            };
            let Some(common) = common else {
                return Ok(own.map(|head| (Source::Own, head)));
            };
            // polled again: a request that was not there before may have a smaller number
            let own = match own {
                Some(head) => Some(head),
                None => self.poll_own()?,
            };
            if let Some(own) = own.filter(|own| own.request < common.request) {
                return Ok(Some((Source::Own, own)));
            }
            if common.flags & NOTICE == 0 {
                return Ok(Some((Source::Common, common)));
            }
            if common.piece as usize == self.rank {
                // before the notice is released: it is found again if this fails
                self.attach_own()?;
            }
            let notice = self.common.recv_raw(Deadline::after(Duration::ZERO))?;
            match Head::of(&notice) == Some(common) {
                true => notice.release(),
                false => notice.release_uncommitted(),
            }
        }
    }

    /// The end of the session, or the death of its scheduler: each death is told once.
    fn tell_of(&mut self, error: RecvError) -> TransportResult<Option<(Source, Head)>> {
        if matches!(error, RecvError::ProducerDead { .. }) {
            if self.dead == Some(self.epoch) {
                return Ok(None);
            }
            self.dead = Some(self.epoch);
        }
        Err(error.into())
    }

    fn poll_own(&mut self) -> TransportResult<Option<Head>> {
        let Some(own) = &mut self.own else {
            return Ok(None);
        };
        match next_head(own, |head, _| {
            head.request.is_some() && head.flags & NOTICE == 0
        }) {
            Ok(head) => Ok(head),
            // the common ring tells of its producer's death; a wait is cancelled, not a request that is there
            Err(RecvError::ProducerDead { .. } | RecvError::Cancelled) => Ok(None),
            Err(RecvError::Closed) => {
                self.own = None;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until one of the rings has news.
    fn sleep(&mut self, deadline: Deadline) -> TransportResult<()> {
        let strategy = self.places.config.transport.wait_strategy.into();
        let interval = self.places.config.transport.liveness_interval;
        let has_own = self.own.is_some();
        let until = match has_own {
            true => deadline,
            // without a ring of its own, it looks for one: while the common ring is full, no notice can come
            false => Deadline::after(
                deadline
                    .remaining()
                    .map_or(interval, |rest| rest.min(interval)),
            ),
        };
        let rings = [Some(&mut self.common), self.own.as_mut()];
        let rings = rings.into_iter().flatten();
        let mut set = RingSet::of(rings.map(|ring| ring.raw().as_ring()))
            .expect("two rings")
            .with_wait_strategy(strategy);
        match set.wait(until) {
            Ok(_) => Ok(()),
            Err(RecvError::Timeout) if !has_own => self.attach_own(),
            Err(RecvError::Timeout) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Counts a request that was decoded and done.
    pub(super) fn count(&mut self) {
        self.common.count();
    }

    /// The worker's rank.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The transport on which the requests to all workers are received.
    pub fn transport(&mut self) -> &mut FramedTransportConsumer<F, B> {
        self.common.raw()
    }

    /// Gives up the worker's places in the scheduler's rings for good.
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`].
    pub fn leave(self) -> MultiProcessResult<()> {
        let is_forked = self.process != std::process::id();
        let left = self.common.leave();
        if is_forked {
            return left;
        }
        // The scheduler may have made the ring of this worker's requests since the last poll. One that it makes from
        // now on does not wait for this worker, which is not in the common ring any more.
        let own = match self.own {
            Some(own) => Ok(Some(own)),
            None => attach_to_own(&self.places, self.rank),
        };
        let own = match own {
            Ok(own) => own.map_or(Ok(()), TypedConsumer::leave),
            Err(TransportError::Ring(error)) => Err(error),
            Err(_) => Ok(()),
        };
        left.and(own)
    }
}

/// Attaches to the ring of the requests to the worker `rank`, if it exists.
fn attach_to_own<F: FramedTransportFrame, B>(
    places: &Places<F, B>,
    rank: usize,
) -> TransportResult<Option<TypedConsumer<F, B>>> {
    let id = places.config.worker_id(rank);
    let attached = until_it_is_free(|| {
        let builder = places.addressed(rank).with_consumer_id(&id);
        TypedConsumer::from_builder(builder.skip_absence())
    });
    match attached {
        Ok(attached) => Ok(Some(attached)),
        Err(TransportError::Ring(MultiProcessError::NotFound { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The greatest count of deliveries.
const MOST: u32 = (1 << COUNT_BITS) - 1;

/// Of the next request in this ring: the upper bits of the [note](Consumer::note) that the worker's place has if the
/// request was delivered before (the sequence of its first frame), and how often it was.
fn deliveries<F: FramedTransportFrame, B>(ring: &mut TypedConsumer<F, B>) -> (u64, u32) {
    let next = next_sequence(ring);
    let note = ring.raw().as_ring().note();
    let of_request = (next as u64) << COUNT_BITS;
    (of_request, super::super::scheduler::state::deliveries(note, next))
}

/// Counts that the next request of this ring is about to be handed out, and returns for which time.
fn count_delivery<F: FramedTransportFrame, B>(ring: &mut TypedConsumer<F, B>) -> u32 {
    let (of_request, before) = deliveries(ring);
    let count = (before + 1).min(MOST);
    let ring = ring.raw().as_ring();
    ring.set_note(of_request | u64::from(count));
    count
}
