//! Diagnosis: who holds a ring, and where every cursor is. Reads the lines, writes nothing, off the hot path.

use core::fmt;
use std::time::Duration;

use crate::error::{MultiProcessError, MultiProcessResult};
use crate::layout::control::{ConsumerId, ConsumerLine, Control, LineState, OPEN};
use crate::layout::lock_bytes::line_byte;
use crate::protocol::expect::Expectation;
use crate::protocol::lines::{self, LineError};
use crate::segment::{Segment, describe};
use crate::sync::Ordering;
use crate::{Event, Sequence};

/// Who or what keeps a producer from publishing.
///
/// Its text names the ring's consumer, its process, whether that is alive, and how far behind it is.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{BlockedOn, HeapRing};
///
/// let ring = HeapRing::<u64>::new(1)?;
/// let (mut tx, _rx) = (ring.producer()?, ring.consumer("reader")?);
/// assert!(tx.blocked_on().is_none());
/// tx.publish(|event| *event = 7);
/// match tx.blocked_on() {
///     Some(BlockedOn::Consumer { id, is_alive, lag, .. }) => assert_eq!((id.as_str(), is_alive, lag), ("reader", true, 1)),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockedOn {
    /// A registered consumer that has yet to release the oldest event.
    #[non_exhaustive]
    Consumer {
        /// The ring's name.
        ring: String,
        /// The consumer's id.
        id: String,
        /// Its process, in words.
        owner: String,
        /// Its process id, in its own pid namespace.
        pid: u32,
        /// Whether its process is alive and attached.
        is_alive: bool,
        /// How many published events it has not released.
        lag: u64,
        /// For how long the producer has seen no progress.
        stalled_for: Duration,
    },
    /// Consumers that were announced and have not come.
    #[non_exhaustive]
    Expected {
        /// The ring's name.
        ring: String,
        /// Who is missing.
        missing: Vec<String>,
    },
    /// Sequences end at 2^61 − 1.
    #[non_exhaustive]
    SequenceExhausted {
        /// The ring's name.
        ring: String,
    },
}

impl fmt::Display for BlockedOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Consumer {
                ring,
                id,
                owner,
                is_alive,
                lag,
                stalled_for,
                ..
            } => {
                let state = if *is_alive { "alive" } else { "not attached" };
                write!(
                    f,
                    "ring '{ring}' waits for consumer '{id}' ({owner}, {state}), {lag} events behind"
                )?;
                if stalled_for.is_zero() {
                    Ok(())
                } else {
                    write!(f, ", no progress for {stalled_for:?}")
                }
            }
            Self::Expected { ring, missing } => write!(
                f,
                "ring '{ring}' expects consumers that have not come: {missing:?}"
            ),
            Self::SequenceExhausted { ring } => {
                write!(f, "ring '{ring}' has used up its sequences")
            }
        }
    }
}

/// Every cursor of a ring at one moment; each was read by itself.
///
/// # Examples
///
/// ```
/// use disruptor_mp::RingState;
///
/// let ring = disruptor_mp::HeapRing::<u64>::new(8)?;
/// let (mut tx, _rx) = (ring.producer()?, ring.consumer("reader")?);
/// tx.publish_batch(3, |_, _| {});
/// let state: RingState = tx.ring_state();
/// assert_eq!((state.published, state.gate), (2, Some(-1)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RingState {
    /// The last sequence that was published, as far as this endpoint can tell.
    pub published: Sequence,
    /// Every sequence up to this one may already have been reused.
    pub floor: Sequence,
    /// The smallest sequence that all registered consumers have released; `None` without consumers.
    pub gate: Option<Sequence>,
    /// How many producers the ring has had before the present one.
    pub epoch: u64,
    /// Each registered consumer's id and the last sequence it has released.
    pub consumers: Vec<(String, Sequence)>,
}

/// The registered lines, and their indices.
fn registered_at(control: &Control) -> impl Iterator<Item = (usize, &ConsumerLine)> {
    control
        .maybe_registered()
        .map(|index| (index, &control.consumers[index]))
        .filter(|(_, line)| line.state().is_registered())
}

/// The registered lines.
pub(crate) fn registered(control: &Control) -> impl Iterator<Item = &ConsumerLine> {
    registered_at(control).map(|(_, line)| line)
}

/// The smallest released sequence.
pub(crate) fn smallest(control: &Control) -> Option<Sequence> {
    registered(control)
        .map(|line| line.sequence.load(Ordering::Acquire))
        .min()
}

pub(crate) fn ring_state<E: Event>(segment: &Segment<E>, published: Sequence) -> RingState {
    let control = segment.control();
    RingState {
        published,
        floor: control.producer.floor.load(Ordering::Acquire),
        gate: smallest(control),
        epoch: control.producer.epoch.load(Ordering::Acquire),
        consumers: registered(control)
            .map(|line| (line.id().text(), line.sequence.load(Ordering::Acquire)))
            .collect(),
    }
}

/// Whether a durable consumer, attached or away, has unread events of a ring that was closed.
pub(crate) fn is_needed(control: &Control) -> bool {
    let last = control.producer.closed.load(Ordering::Acquire);
    registered(control).any(|line| {
        let has_position = matches!(line.state(), LineState::Active | LineState::Away);
        has_position && line.is_durable() && line.sequence.load(Ordering::Acquire) < last
    })
}

/// Whether the ring was closed, its name was not kept, and no durable consumer has unread events.
pub(crate) fn is_drained(control: &Control) -> bool {
    let is_closed = control.producer.closed.load(Ordering::Acquire) != OPEN;
    is_closed && control.producer.kept.load(Ordering::Relaxed) == 0 && !is_needed(control)
}

/// The registered consumer that is furthest behind, and its line's index.
fn furthest_behind(control: &Control) -> Option<(usize, &ConsumerLine)> {
    registered_at(control).min_by_key(|(_, line)| line.sequence.load(Ordering::Acquire))
}

/// Whether the line's owner is there: alive and attached.
fn is_alive<E: Event>(segment: &Segment<E>, index: usize) -> bool {
    let locks = segment.locks();
    locks.is_held_by_other(line_byte(index)).unwrap_or(false)
}

/// Whether the consumer that is furthest behind is one that is not there. Allocates nothing.
pub(crate) fn is_held_by_the_dead<E: Event>(segment: &Segment<E>) -> bool {
    furthest_behind(segment.control()).is_some_and(|(index, _)| !is_alive(segment, index))
}

/// Names what blocks a full ring.
pub(crate) fn find<E: Event>(
    segment: &Segment<E>,
    last: Sequence,
    expectation: &Expectation,
    is_exhausted: bool,
    stalled_for: Duration,
) -> Option<BlockedOn> {
    let ring = segment.name.to_string();
    if is_exhausted {
        return Some(BlockedOn::SequenceExhausted { ring });
    }
    if expectation.was_pending() {
        return Some(BlockedOn::Expected {
            ring,
            missing: expectation.missing(),
        });
    }
    let (index, line) = furthest_behind(segment.control())?;
    let owner = line.owner.load();
    Some(BlockedOn::Consumer {
        ring,
        id: line.id().text(),
        owner: describe(owner),
        pid: owner.pid,
        is_alive: is_alive(segment, index),
        lag: last
            .saturating_sub(line.sequence.load(Ordering::Acquire))
            .max(0) as u64,
        stalled_for,
    })
}

/// See `Producer::attached_consumer_ids`.
pub(crate) fn attached<E: Event>(segment: &Segment<E>) -> Vec<String> {
    registered_at(segment.control())
        .filter(|(index, _)| is_alive(segment, *index))
        .map(|(_, line)| line.id().text())
        .collect()
}

/// See `Producer::remove_consumer`.
pub(crate) fn remove<E: Event>(segment: &Segment<E>, id: &ConsumerId) -> MultiProcessResult<()> {
    lines::remove(segment.control(), segment.locks(), id)
        .map_err(|error| line_error(segment, id, error))
}

/// A line error in the words of the public error.
pub(crate) fn line_error<E: Event>(
    segment: &Segment<E>,
    id: &ConsumerId,
    error: LineError,
) -> MultiProcessError {
    let name = segment.name.to_string();
    match error {
        LineError::AlreadyAttached { owner } => MultiProcessError::ConsumerAlreadyAttached {
            name,
            id: id.text(),
            owner: owner.map_or_else(
                || String::from("a process that is just attaching"),
                describe,
            ),
        },
        LineError::AllTaken { away } => MultiProcessError::TooManyConsumers {
            name,
            max: crate::DEFAULT_MAX_CONSUMERS,
            away,
        },
        LineError::Unknown => MultiProcessError::NoSuchConsumer {
            name,
            id: id.text(),
            present: registered(segment.control())
                .map(|line| line.id().text())
                .collect(),
        },
        LineError::Io(source) => segment.io_error("lock a consumer line")(source),
    }
}
