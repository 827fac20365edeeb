//! The half of a worker that receives requests.
//!
//! Requests to all workers come in the common ring, and those to this worker in a ring of its own, which the scheduler
//! makes when it first needs it. Each request has a number, and the worker takes the smaller one first. The scheduler
//! publishes request n before request n + 1. So a worker that has found a request in one ring sees every request
//! with a smaller number in the other ring, if it polls that ring afterwards (`rfcs/0008`).

use disruptor_mp::{
    Deadline, MultiProcessError, MultiProcessResult, RecvError, RingSet, SharedMemory,
};

use super::super::Places;
use super::super::head::{Head, NOTICE};
use super::super::received::{Request, next_head, next_sequence};
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
}

/// The ring that has the next request.
#[derive(Clone, Copy, Debug)]
enum Source {
    Common,
    Own,
}

impl<F: FramedTransportFrame, B> RequestReceiver<F, B> {
    /// The worker has its place in the common ring.
    pub(super) fn new(
        common: TypedConsumer<F, B>,
        places: Places<F, B>,
        rank: usize,
    ) -> TransportResult<Self> {
        let mut receiver = Self {
            common,
            own: None,
            places,
            rank,
        };
        // the scheduler announces a ring that it makes after this in the common ring
        receiver.attach_own()?;
        Ok(receiver)
    }

    /// Attaches to the ring of the requests to this worker, if it exists.
    fn attach_own(&mut self) -> TransportResult<()> {
        if self.own.is_some() {
            return Ok(());
        }
        let builder = self
            .places
            .addressed(self.rank)
            .with_consumer_id(&self.places.config.worker_id(self.rank));
        self.own = match TypedConsumer::from_builder(builder.skip_absence()) {
            Ok(attached) => Some(attached),
            Err(TransportError::Ring(MultiProcessError::NotFound { .. })) => None,
            Err(error) => return Err(error),
        };
        Ok(())
    }

    /// The scheduler's next request: see [`Worker::recv`](super::Worker::recv).
    ///
    /// # Errors
    ///
    /// As [`Worker::recv`](super::Worker::recv).
    pub fn recv(&mut self, deadline: Deadline) -> TransportResult<Request<'_, F, B>> {
        let (source, head) = self.wait(deadline)?;
        let ring = match (source, &mut self.own) {
            (Source::Own, Some(own)) => own,
            _ => &mut self.common,
        };
        let delivery = count_delivery(ring);
        Ok(Request::new(ring.recv_raw(deadline)?, head, delivery))
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
            if deadline.has_passed() {
                return Err(RecvError::Timeout.into());
            }
            self.sleep(deadline)?;
        }
    }

    /// The request with the smallest number, if there is one.
    fn poll(&mut self) -> TransportResult<Option<(Source, Head)>> {
        loop {
            let own = self.poll_own()?;
            let common = match next_head(&mut self.common, |head, _| head.request.is_some()) {
                Ok(common) => common,
                // everything was sent before the end: requests to this worker are received first
                Err(error @ (RecvError::Closed | RecvError::ProducerDead { .. })) => {
                    self.attach_own()?;
                    let own = own.map_or_else(|| self.poll_own(), |head| Ok(Some(head)))?;
                    let own = own.ok_or(error)?;
                    return Ok(Some((Source::Own, own)));
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
            self.common.recv_raw(Deadline::NEVER)?.release();
            if common.piece as usize == self.rank {
                self.attach_own()?;
            }
        }
    }

    fn poll_own(&mut self) -> TransportResult<Option<Head>> {
        let Some(own) = &mut self.own else {
            return Ok(None);
        };
        match next_head(own, |head, _| {
            head.request.is_some() && head.flags & NOTICE == 0
        }) {
            Ok(head) => Ok(head),
            // the common ring tells of its producer's death
            Err(RecvError::ProducerDead { .. }) => Ok(None),
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
        let (has_own, interval) = (self.own.is_some(), self.places.config.transport.liveness_interval);
        // without a ring of its own, it looks for one: the scheduler cannot tell it of one while the common ring is full
        let until = match has_own {
            true => deadline,
            false => Deadline::after(deadline.remaining().map_or(interval, |rest| rest.min(interval))),
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
    pub fn leave(mut self) -> MultiProcessResult<()> {
        // the scheduler may have made the ring of its own requests since the last poll
        let attached = match self.attach_own() {
            Err(TransportError::Ring(error)) => Err(error),
            _ => Ok(()),
        };
        let own = self.own.map_or(Ok(()), TypedConsumer::leave);
        own.and(self.common.leave()).and(attached)
    }
}

/// Bits of a note that count.
const COUNT_BITS: u32 = 16;

/// The greatest count of deliveries.
const MOST: u32 = (1 << COUNT_BITS) - 1;

/// Of the next request in this ring: the upper bits of the [note](Consumer::note) that the worker's place has if the
/// request was delivered before (the sequence of its first frame), and how often it was.
fn deliveries<F: FramedTransportFrame, B>(ring: &mut TypedConsumer<F, B>) -> (u64, u32) {
    let of_request = (next_sequence(ring) as u64) << COUNT_BITS;
    let note = ring.raw().as_ring().note();
    let count = note.wrapping_sub(of_request);
    match count <= u64::from(MOST) {
        true => (of_request, count as u32),
        false => (of_request, 0),
    }
}

/// Counts that the next request of this ring is about to be handed out, and returns for which time.
fn count_delivery<F: FramedTransportFrame, B>(ring: &mut TypedConsumer<F, B>) -> u32 {
    let (of_request, before) = deliveries(ring);
    let count = (before + 1).min(MOST);
    let ring = ring.raw().as_ring();
    ring.set_note(of_request | u64::from(count));
    count
}
