//! Diagnosis: what holds a ring, and where every cursor is. Reads the lines and writes nothing; off the hot path.

use core::fmt;
use std::time::Duration;

use crate::Sequence;
use crate::error::{MultiProcessError, MultiProcessResult, SendError};
use crate::event::Event;
use crate::layout::DEFAULT_MAX_CONSUMERS;
use crate::layout::control::{ConsumerId, Control, Owner};
use crate::layout::lock_bytes::line_byte;
use crate::os::step::Step;
use crate::protocol::Locks;
use crate::protocol::expect::Expectation;
use crate::protocol::lines::{self, Applicant, LineError};
use crate::protocol::registered::{furthest_behind, registered, registered_at, smallest};
use crate::segment::{Segment, current_owner, describe};
use crate::sync::Ordering;

/// What keeps a producer from publishing.
///
/// The text of [`Consumer`](Self::Consumer) names the ring, the consumer and its process, and says whether
/// that process is alive and how far behind the consumer is.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{BlockedOn, Deadline, HeapRing};
///
/// let ring = HeapRing::<u64>::new(1)?;
/// let (mut tx, _rx) = (ring.producer()?, ring.consumer("reader")?);
/// assert!(tx.blocked_on().is_none());
/// tx.send(Deadline::NEVER, |event| *event = 7)?;
/// match tx.blocked_on() {
///     Some(BlockedOn::Consumer { id, is_alive, lag, .. }) => assert_eq!((id.as_str(), is_alive, lag), ("reader", Some(true), 1)),
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
        /// Whether its process is alive and attached; `None` if its lock cannot be probed.
        is_alive: Option<bool>,
        /// How many published events it has not released.
        lag: u64,
        /// For how long the producer has seen no progress.
        stalled_for: Duration,
        /// Whether the ring's name was removed from outside, or leads to another ring: no process can attach any more.
        is_name_removed: bool,
    },
    /// Consumers that were announced but have not come.
    #[non_exhaustive]
    Expected {
        /// The ring's name.
        ring: String,
        /// The consumers that are missing.
        missing: Vec<String>,
        /// Whether the ring's name was removed from outside, or leads to another ring: no process can attach any more.
        is_name_removed: bool,
    },
    /// The program has closed the descriptor on which the producer's lock rests: other processes count the
    /// producer as dead, and it publishes nothing any more.
    #[non_exhaustive]
    LockLost {
        /// The ring's name.
        ring: String,
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
                is_name_removed,
                ..
            } => {
                let state = match is_alive {
                    Some(true) => "alive",
                    Some(false) => "not attached",
                    None => "not known to be alive or dead",
                };
                write!(
                    f,
                    "ring '{ring}' waits for consumer '{id}' ({owner}, {state}), {lag} events behind"
                )?;
                if !stalled_for.is_zero() {
                    write!(f, ", no progress for {stalled_for:?}")?;
                }
                say_of_the_name(f, *is_name_removed)
            }
            Self::Expected {
                ring,
                missing,
                is_name_removed,
            } => {
                write!(
                    f,
                    "ring '{ring}' expects consumers that have not come: {missing:?}"
                )?;
                say_of_the_name(f, *is_name_removed)
            }
            Self::LockLost { ring } => {
                write!(
                    f,
                    "ring '{ring}' counts this producer as dead: {}",
                    SendError::LockLost
                )
            }
            Self::SequenceExhausted { ring } => {
                write!(f, "ring '{ring}' has used up its sequences")
            }
        }
    }
}

/// Writes what keeps further consumers from attaching, if that is so.
fn say_of_the_name(f: &mut fmt::Formatter<'_>, is_removed: bool) -> fmt::Result {
    if is_removed {
        f.write_str(NAME_REMOVED)?;
    }
    Ok(())
}

/// The end of a message about a ring that has lost its name.
pub(crate) const NAME_REMOVED: &str = "; the ring's name was removed or leads to another ring (rm, systemd's RemoveIPC at \
     logout, a cleaner of temporary files): no process can attach any more, restart the producer";

/// Every cursor of a ring at about the same time; each was read by itself.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{Deadline, RingState};
///
/// let ring = disruptor_mp::HeapRing::<u64>::new(8)?;
/// let (mut tx, _rx) = (ring.producer()?, ring.consumer("reader")?);
/// tx.send_batch(3, Deadline::NEVER, |_, _| {})?;
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
    /// The gate: the smallest of the sequences that the registered consumers have released; `None` without consumers.
    pub gate: Option<Sequence>,
    /// How many producers the ring has had before the present one.
    pub epoch: u64,
    /// Each registered consumer's id and the last sequence it has released.
    pub consumers: Vec<(String, Sequence)>,
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

/// A consumer's place in a ring, for the layers above.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerPlace {
    /// The last sequence that it has released.
    pub released: Sequence,
    /// Its note.
    pub note: u64,
    /// Whether the consumer has ever come.
    pub has_come: bool,
    /// Whether it is attached, with a live process; `None` if its lock cannot be probed.
    pub is_attached: Option<bool>,
    /// The process that came last, by its number and its start.
    pub owner: (u32, u64),
}

pub(crate) fn place_of(control: &Control, locks: &dyn Locks, id: &str) -> Option<ConsumerPlace> {
    let (index, line) = registered_at(control).find(|(_, line)| line.id().text() == id)?;
    let owner = line.owner.load();
    // before the other words are read: once it has died, they do not change any more
    let is_attached = is_alive(locks, index);
    Some(ConsumerPlace {
        released: line.sequence.load(Ordering::Acquire),
        note: line.note.load(Ordering::Acquire),
        has_come: owner != Owner::NOBODY,
        is_attached,
        owner: (owner.pid, owner.start_ticks),
    })
}

/// Whether the line's owner is alive and attached; `None` if its lock cannot be probed.
fn is_alive(locks: &dyn Locks, index: usize) -> Option<bool> {
    locks.is_held_by_other(line_byte(index)).ok()
}

/// Whether the consumer that is furthest behind is known not to be attached. Allocates nothing.
pub(crate) fn is_held_by_the_dead(control: &Control, locks: &dyn Locks) -> bool {
    furthest_behind(control).is_some_and(|(index, _)| is_alive(locks, index) == Some(false))
}

/// Names what blocks a full ring.
pub(crate) fn find<E: Event>(
    segment: &Segment<E>,
    last: Sequence,
    expectation: &Expectation,
    is_exhausted: bool,
    stalled_for: Duration,
) -> Option<BlockedOn> {
    let ring = segment.shown.to_string();
    if segment.has_lost_locks() {
        return Some(BlockedOn::LockLost { ring });
    }
    if is_exhausted {
        return Some(BlockedOn::SequenceExhausted { ring });
    }
    let is_name_removed = segment.region().is_name_lost();
    if expectation.was_pending() {
        return Some(BlockedOn::Expected {
            ring,
            missing: expectation.missing(),
            is_name_removed,
        });
    }
    let (index, line) = furthest_behind(segment.control())?;
    let owner = line.owner.load();
    Some(BlockedOn::Consumer {
        ring,
        id: line.id().text(),
        owner: match owner {
            Owner::NOBODY => String::from("it has not come yet"),
            owner => describe(owner),
        },
        pid: owner.pid,
        is_alive: is_alive(segment.locks(), index),
        lag: last
            .saturating_sub(line.sequence.load(Ordering::Acquire))
            .max(0) as u64,
        stalled_for,
        is_name_removed,
    })
}

/// See [`Producer::attached_consumer_ids`](crate::Producer::attached_consumer_ids).
pub(crate) fn attached(control: &Control, locks: &dyn Locks) -> Vec<String> {
    registered_at(control)
        .filter(|(index, _)| is_alive(locks, *index) != Some(false))
        .map(|(_, line)| line.id().text())
        .collect()
}

/// See [`Producer::remove_consumer`](crate::Producer::remove_consumer).
pub(crate) fn remove<E: Event>(segment: &Segment<E>, id: &ConsumerId) -> MultiProcessResult<()> {
    lines::remove(segment.control(), segment.locks(), id)
        .map_err(|error| line_error(segment, id, error))
}

/// As [`lines::leave_word`]. If the consumer is just attaching, or no line is free, no word of the removal is left.
pub(crate) fn leave_word<E: Event>(segment: &Segment<E>, id: &ConsumerId) {
    let who = Applicant {
        id,
        durable: true,
        owner: current_owner(),
        is_here: false,
    };
    if let Err(error) = lines::leave_word(segment.control(), segment.locks(), who) {
        tracing::debug!(ring = %segment.shown, id = %id.text(), ?error, "could not leave a record of the removal");
    }
}

/// A line error as the public error.
pub(crate) fn line_error<E: Event>(
    segment: &Segment<E>,
    id: &ConsumerId,
    error: LineError,
) -> MultiProcessError {
    let name = segment.shown.to_string();
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
            max: DEFAULT_MAX_CONSUMERS,
            away,
        },
        LineError::Unknown => MultiProcessError::NoSuchConsumer {
            name,
            id: id.text(),
            present: registered(segment.control())
                .map(|line| line.id().text())
                .collect(),
        },
        LineError::Io(source) => segment.io_error(Step::Lock)(source),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::io;

    use super::*;
    use crate::open::simple::HeapRing;

    /// Locks that the system does not let this process probe.
    #[derive(Debug)]
    struct Refused;

    impl Locks for Refused {
        fn try_lock(&self, _: u64) -> io::Result<bool> {
            Err(io::ErrorKind::PermissionDenied.into())
        }
        fn unlock(&self, _: u64) -> io::Result<()> {
            Err(io::ErrorKind::PermissionDenied.into())
        }
        fn is_held_by_other(&self, _: u64) -> io::Result<bool> {
            Err(io::ErrorKind::PermissionDenied.into())
        }
        fn is_any_held_by_other(&self) -> io::Result<bool> {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }

    #[test]
    fn a_consumer_whose_lock_cannot_be_probed_does_not_count_as_dead() {
        let ring = HeapRing::<u64>::new(1).expect("a ring");
        let tx = ring.producer().expect("a producer");
        let rx = ring.consumer("reader").expect("a consumer");
        let control = tx.segment.control();
        let alive = |locks| place_of(control, locks, "reader").map(|place| place.is_attached);
        assert_eq!(alive(tx.segment.locks()), Some(Some(true)));
        drop(rx);
        assert_eq!(alive(tx.segment.locks()), Some(Some(false)));
        assert!(is_held_by_the_dead(control, tx.segment.locks()));
        assert_eq!(attached(control, tx.segment.locks()), [""; 0]);

        assert_eq!(alive(&Refused), Some(None));
        assert!(!is_held_by_the_dead(control, &Refused));
        assert_eq!(attached(control, &Refused), ["reader"]);
    }

    /// A consumer that releases one more event and dies, both just before its lock is probed.
    struct Dying<'a>(&'a Control);

    impl core::fmt::Debug for Dying<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Dying")
        }
    }

    impl Locks for Dying<'_> {
        fn try_lock(&self, _: u64) -> io::Result<bool> {
            Ok(false)
        }
        fn unlock(&self, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn is_held_by_other(&self, _: u64) -> io::Result<bool> {
            let line = &self.0.consumers[0];
            line.sequence.store(5, Ordering::Release);
            line.note.store(7, Ordering::Release);
            Ok(false)
        }
        fn is_any_held_by_other(&self) -> io::Result<bool> {
            Ok(false)
        }
    }

    #[test]
    fn the_place_of_a_dead_consumer_shows_what_it_has_written_last() {
        let ring = HeapRing::<u64>::new(8).expect("a ring");
        let tx = ring.producer().expect("a producer");
        let _rx = ring.consumer("reader").expect("a consumer");
        let control = tx.segment.control();
        let place = place_of(control, &Dying(control), "reader").expect("its place");
        assert_eq!((place.released, place.note), (5, 7));
        assert_eq!(place.is_attached, Some(false));
    }

    #[test]
    fn a_text_does_not_say_dead_of_what_is_not_known() {
        let text = |is_alive| {
            let blocked = BlockedOn::Consumer {
                ring: String::from("ticks"),
                id: String::from("reader"),
                owner: String::from("pid 7"),
                pid: 7,
                is_alive,
                lag: 8,
                stalled_for: Duration::ZERO,
                is_name_removed: false,
            };
            blocked.to_string()
        };
        let texts = [Some(true), Some(false), None].map(text);
        let states = ["alive", "not attached", "not known to be alive or dead"];
        for (text, state) in texts.iter().zip(states) {
            assert!(
                text.contains(&format!("(pid 7, {state}), 8 events behind")),
                "{text}"
            );
        }
    }
}
