//! A session's requests, as seen by any process that may read the rings: how many of them each worker has not
//! completed, the age of the oldest, and how often that one was delivered.
//!
//! Everything follows from the rings themselves, at the moment of the reading: a worker's position and the note of its
//! place, and of each frame its header and the head of its message, which has the time. No member writes anything more
//! for this, and it is true while the scheduler is busy, stopped or dead.
//!
//! The time is that of a clock which begins anew with each boot of the machine. A file may outlive a boot, so there a
//! time counts only if the request is of a scheduler that is known to be of this boot.

use std::ffi::OsStr;
use std::time::{Duration, UNIX_EPOCH};

use disruptor_mp::Sequence;
use disruptor_mp::inspect::{
    ConsumerSeen, InspectError, Inspector, Sighting, Snapshot, shared_memory_directory,
};

use super::clock::coarse_now;
use super::config::WORKER_PREFIX;
use super::delivery::deliveries;
use super::head::{HEAD_BYTES, Head, NOTICE, RequestId, SentAt, SessionMark};
use super::names::{common_ring_of, is_of_requests};
use crate::transport::{AlignedFixedFrame, FRAME_HEADER_BYTES, FrameMeta, frame_flags};

/// The requests in one ring that a worker has not completed.
///
/// # Examples
///
/// See [`requests_seen`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestsSeen {
    /// The worker's rank.
    pub rank: usize,
    /// The index of its line, as in [`ConsumerSeen::line`].
    pub line: usize,
    /// How many there are.
    pub in_flight: u64,
    /// The age of the oldest, from the start of the call that sent it, exact to a tick of the kernel (1 to 10 ms).
    /// `None` if there are none, or if the worker has released the beginning of the oldest one, which is longer than
    /// its ring. Also `None` if the machine may have been started again since: in a file, for the requests of a
    /// scheduler that is not the last one, or was not of this boot.
    pub oldest: Option<Duration>,
    /// How often the oldest was delivered to the worker; 0 if it was not yet.
    pub deliveries: u32,
}

/// The requests of each worker in this ring, a session's ring of requests to all workers or to one. A worker's whole
/// load is the sum over both rings. A worker that has not come yet, or has not heard of the ring of its own, has
/// no line there and is left out. Empty for any other ring, and for frames of a program's own type. The cost grows with
/// the number of frames that the slowest worker has not released.
///
/// Any process that may read the ring's file may call this. [`WorkerState`](super::WorkerState) is what the scheduler
/// itself knows. `myelon show`, `stat` and `serve` print these figures.
///
/// # Errors
///
/// When the file cannot be read, or was cut off.
///
/// # Examples
///
/// ```
/// # use myelon::transport::FixedFrame;
/// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
/// use myelon::inspect::Inspector;
/// use myelon::{RequestsSeen, requests_seen};
///
/// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
/// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
/// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
/// scheduler.broadcast(b"weights", 1, Deadline::NEVER)?;
/// scheduler.broadcast(b"compute", 1, Deadline::NEVER)?;
/// drop(worker.recv(Deadline::NEVER)?); // as if the worker had died of it
///
/// // in any process
/// let mut ring = Inspector::open_shared_memory(&config.layout()?.rpc_ring_name())?;
/// let seen = ring.snapshot()?;
/// let worker_0: RequestsSeen = requests_seen(&ring, &seen)?[0];
/// assert_eq!((worker_0.rank, worker_0.in_flight, worker_0.deliveries), (0, 2, 1));
/// println!("the oldest was sent {:?} ago", worker_0.oldest);
/// # worker.leave()?;
/// # scheduler.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn requests_seen(ring: &Inspector, seen: &Snapshot) -> Result<Vec<RequestsSeen>, InspectError> {
    let workers = seen.consumers.iter().filter_map(|consumer| {
        // a consumer that has not been told of a doubt stands at a sequence that no event has
        let has_position = consumer.is_gating && consumer.in_doubt.is_none();
        let rank = rank_of(&consumer.id).filter(|_| has_position)?;
        Some((rank, consumer))
    });
    let workers: Vec<_> = workers.collect();
    let (Some(payload_at), true) = (payload_at(ring), is_of_requests(&ring.info().name)) else {
        return Ok(Vec::new());
    };
    let Some(released) = workers.iter().map(|(_, worker)| worker.position).min() else {
        return Ok(Vec::new());
    };
    let sent = requests_after(released.max(seen.floor), seen.published, ring, payload_at)?;
    let now = SentAt::of(coarse_now());
    let of_worker = |(rank, worker): (usize, &ConsumerSeen)| {
        let first = sent.partition_point(|request| request.last <= worker.position);
        let left = &sent[first..];
        let sent_at = left.first().and_then(|oldest| oldest.sent_at);
        RequestsSeen {
            rank,
            line: worker.line,
            in_flight: left.len() as u64,
            oldest: sent_at.map(|then| then.until(now)),
            deliveries: match left.is_empty() {
                true => 0,
                false => deliveries(worker.note, worker.position.saturating_add(1)),
            },
        }
    };
    Ok(workers.into_iter().map(of_worker).collect())
}

/// A request whose last frame is published.
struct Sent {
    last: Sequence,
    sent_at: Option<SentAt>,
}

/// The requests that end after `released`, up to `published`. Frames that were written over meanwhile are released.
fn requests_after(
    released: Sequence,
    published: Sequence,
    ring: &Inspector,
    payload_at: usize,
) -> Result<Vec<Sent>, InspectError> {
    let mut sent = Vec::new();
    let mut of_this_boot = None;
    let mut bytes = vec![0; payload_at + HEAD_BYTES];
    let mut head = None;
    // published by any process that may write the ring: no more than its slots are read
    let slots = ring.info().capacity as Sequence;
    let first = released
        .max(published.saturating_sub(slots))
        .max(-1)
        .saturating_add(1);
    for sequence in first..=published {
        let frame = match ring.read_event(sequence, &mut bytes)? {
            Sighting::Whole => bytes.first_chunk().and_then(FrameMeta::from_bytes),
            _ => None,
        };
        let Some(frame) = frame else {
            head = None;
            continue;
        };
        if frame.flags & frame_flags::START != 0 {
            head = Head::of(&bytes[payload_at..]);
        }
        if frame.flags & frame_flags::END != 0 {
            let head = head.take();
            if head.is_some_and(|head| head.has(NOTICE)) {
                continue;
            }
            let of_this_boot = match of_this_boot {
                Some(known) => known,
                None => *of_this_boot.insert(OfThisBoot::of(ring)?),
            };
            let timed = head.filter(|head| of_this_boot.has(*head));
            sent.push(Sent {
                last: sequence,
                sent_at: timed.map(Head::sent_at),
            });
        }
    }
    Ok(sent)
}

/// The requests that are known to be of this boot.
#[derive(Clone, Copy)]
enum OfThisBoot {
    All,
    From(RequestId),
    None,
}

impl OfThisBoot {
    /// Those in this ring.
    fn of(ring: &Inspector) -> Result<Self, InspectError> {
        if ring.path().starts_with(shared_memory_directory()) {
            return Ok(Self::All);
        }
        // not the name in the ring, which may be any text
        let name = ring.path().file_name().and_then(OsStr::to_str);
        let name = name.unwrap_or_default();
        let common = common_ring_of(name);
        if common == name {
            return Self::of_scheduler(ring);
        }
        // the scheduler, whose epoch is that of the common ring, may not have come to this one yet
        if ring.epoch_of_this_boot()?.is_none() {
            return Ok(Self::None);
        }
        match Inspector::open(ring.path().with_file_name(common)) {
            Ok(common) => Self::of_scheduler(&common),
            Err(_) => Ok(Self::None),
        }
    }

    /// Those of the scheduler that has or had this common ring.
    fn of_scheduler(common: &Inspector) -> Result<Self, InspectError> {
        let created = common.info().created.duration_since(UNIX_EPOCH);
        let mark = SessionMark::of(created.unwrap_or_default().as_nanos() as u64);
        let epoch = common.epoch_of_this_boot()?;
        Ok(epoch.map_or(Self::None, |epoch| {
            Self::From(RequestId::first(epoch, mark))
        }))
    }

    fn has(self, head: Head) -> bool {
        match self {
            Self::All => true,
            Self::From(first) => head
                .request()
                .is_some_and(|id| id >= first && id.session() == first.session()),
            Self::None => false,
        }
    }
}

/// Where the payload of the ring's frames begins; `None` for events that are no frames of this crate.
fn payload_at(ring: &Inspector) -> Option<usize> {
    let event = &ring.info().event;
    let at = match &event.text {
        text if text.contains("{ FixedFrame with ") => FRAME_HEADER_BYTES,
        text if text.contains("{ AlignedFixedFrame with ") => size_of::<AlignedFixedFrame<0>>(),
        _ => return None,
    };
    // a frame that is too small for a head carries no request in one piece
    (event.size >= (at + HEAD_BYTES) as u64).then_some(at)
}

/// The rank of the worker with this consumer id.
fn rank_of(id: &str) -> Option<usize> {
    let rank = id.strip_prefix(WORKER_PREFIX)?.strip_prefix('_')?;
    rank.parse().ok()
}
