//! One ring at about one moment: its ends, its consumers, and what holds it.
//!
//! Order of the reads: a first search for the published sequence, the control lines, a second search from there, and
//! the locks. So what is published is no older than the lines (R2), and the second search is short.

use core::fmt;

use super::control::floor_of;
use super::{InspectError, Inspector, Process};
use crate::Sequence;
use crate::layout::control::{
    ConsumerLine, Control, KEPT, KEPT_UNTIL_DRAINED, LineState, NOTHING_WANTED, OPEN, Owner,
    Vouched,
};
use crate::layout::lock_bytes::{LOCK_BYTES_END, PRODUCER_BYTE, VOUCHED_BYTE, line_byte};
use crate::layout::stamp::MAX_SEQUENCE;
use crate::layout::{CONTROL_OFFSET, LINE_BYTES};
use crate::os::boot;
use crate::protocol::{doubt, registered};
use crate::segment::{PAUSE, is_in_doubt, origin_of};
use crate::sync::Ordering;
use std::os::fd::AsFd;

/// How often lines that cannot be true are read before they count as faults.
const TRIES: u32 = 4;
/// How often the producer's lock is probed while its holder does not vouch for the ring.
const PROBES: u32 = 5;

/// Whether a process is alive, by the locks that it holds.
///
/// # Examples
///
/// See [`inspect`](crate::inspect), whose example compares a `Liveness`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// It holds its lock. A stopped process is alive.
    Alive,
    /// Its lock is free.
    Dead,
    /// The locks cannot be probed here.
    Unknown,
}

impl fmt::Display for Liveness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alive => "alive",
            Self::Dead => "dead",
            Self::Unknown => "unknown",
        })
    }
}

/// The part of its life that a ring is in.
///
/// # Examples
///
/// ```
/// use disruptor_mp::inspect::{Inspector, NameState, Phase};
///
/// # let name = disruptor_mp::portable_shm_segment_name("doc");
/// let tx = disruptor_mp::publisher::<u64>(&name, 8)?;
/// let mut ring = Inspector::open_shared_memory(&name)?;
/// assert_eq!(ring.snapshot()?.phase(), Phase::Live);
/// tx.destroy()?;
/// let seen = ring.snapshot()?;
/// assert_eq!((seen.phase(), seen.closed, seen.name), (Phase::Removed, Some(-1), NameState::Gone));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// A producer holds it.
    Live,
    /// Its producer died without ending it. A successor goes on where it stopped.
    Orphaned,
    /// Its producer ended it. Consumers may still drain it.
    Closed,
    /// Its name is gone, or leads to another file. Processes that have it open go on.
    Removed,
    /// A process that is not its producer holds the producer's lock: it takes the ring over, checks it, or removes it.
    Locked,
    /// It is not closed, and whether its producer is alive cannot be found out.
    Unknown,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Live => "live",
            Self::Orphaned => "orphaned",
            Self::Closed => "closed",
            Self::Removed => "removed",
            Self::Locked => "locked",
            Self::Unknown => "unknown",
        })
    }
}

/// What the name leads to under which the file was opened.
///
/// # Examples
///
/// See [`Phase`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameState {
    /// To this ring.
    Ours,
    /// To nothing.
    Gone,
    /// To another file.
    Other,
}

/// The producer that has or had the ring.
///
/// # Examples
///
/// See [`Snapshot`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProducerSeen {
    /// Its process.
    pub process: Process,
    /// Whether it is alive.
    pub liveness: Liveness,
    /// Whether a process that is not the ring's producer holds the producer's lock, while it takes the ring over,
    /// checks it, or removes it.
    pub is_lock_taken: bool,
    /// How many producers the ring has had before it.
    pub epoch: u64,
    /// The sequence whose release it sleeps for, if it sleeps. A producer that spins or yields does not show it.
    pub sleeps_for: Option<Sequence>,
}

/// Whether a consumer is at its line.
///
/// # Examples
///
/// See [`inspect`](crate::inspect), whose example compares a `Presence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Presence {
    /// It holds its line.
    Attached,
    /// It is durable, and not attached: its place is kept until it comes back or is removed.
    Away,
    /// A place that a producer kept for a consumer that has never come.
    Expected,
    /// It is attaching.
    Joining,
    /// It had an automatic id, and died: the producer drops it when it needs the space.
    Dead,
    /// The locks cannot be probed here.
    Unknown,
}

impl fmt::Display for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attached => "attached",
            Self::Away => "away",
            Self::Expected => "expected",
            Self::Joining => "joining",
            Self::Dead => "dead",
            Self::Unknown => "unknown",
        })
    }
}

/// A consumer's line.
///
/// # Examples
///
/// See [`Snapshot`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerSeen {
    /// The index of its line.
    pub line: usize,
    /// Its id. Any text: another process wrote it.
    pub id: String,
    /// Whether the id is explicit, so that its place is kept when it goes.
    pub is_durable: bool,
    /// Its process, or the last one that had the line.
    pub process: Process,
    /// Whether it is there.
    pub presence: Presence,
    /// Whether the producer waits for it.
    pub is_gating: bool,
    /// The last sequence that it has released; −1 for none.
    pub position: Sequence,
    /// How many published events it has not released; at most the ring's capacity.
    pub lag: u64,
    /// Whether it sleeps until the next event.
    pub is_asleep: bool,
    /// How many events are in doubt of which it has not been told (R17).
    pub in_doubt: Option<u64>,
    /// The number that a layer above keeps with its place: see [`Consumer::note`](crate::Consumer::note).
    pub note: u64,
}

/// What a full ring waits for.
///
/// # Examples
///
/// See [`Snapshot`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeldBy {
    /// The consumer that is furthest behind: an index of [`Snapshot::consumers`].
    Consumer(usize),
    /// No consumer is registered. The producer sleeps until the first one comes.
    FirstConsumer,
    /// No consumer is registered, and the producer does not sleep: it runs free and needs no space, or it waits for
    /// its first consumer without sleeping.
    Nobody,
}

/// One ring at about one moment.
///
/// # Examples
///
/// ```
/// use disruptor_mp::inspect::{ConsumerSeen, HeldBy, Inspector, Phase, ProducerSeen, Snapshot};
/// use disruptor_mp::{Deadline, attach_shared_consumer, build_shared_single_producer};
///
/// # let name = disruptor_mp::portable_shm_segment_name("doc");
/// let mut tx = build_shared_single_producer::<u64>(&name, 8).build_producer(|| 0)?;
/// let rx = attach_shared_consumer::<u64>(&name, 8).with_consumer_id("reader").build_consumer()?;
/// tx.send_batch(8, Deadline::NEVER, |_, _| {})?;
/// rx.detach()?;
///
/// let seen: Snapshot = Inspector::open_shared_memory(&name)?.snapshot()?;
/// let producer: &ProducerSeen = &seen.producer;
/// let reader: &ConsumerSeen = &seen.consumers[0];
/// assert_eq!((producer.process.pid, reader.lag), (std::process::id(), 8));
/// assert_eq!(seen.held_by, Some(HeldBy::Consumer(0)));
/// assert_eq!(seen.blocker(), Some(reader));
/// assert_eq!((seen.phase(), seen.largest_lag()), (Phase::Live, Some(8)));
/// # tx.destroy()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The last sequence that was published; −1, or one below the first, for none.
    pub published: Sequence,
    /// Every sequence up to this one may already have been reused.
    pub floor: Sequence,
    /// The smallest position of the consumers that the producer waits for; `None` without such a consumer.
    pub gate: Option<Sequence>,
    /// The producer.
    pub producer: ProducerSeen,
    /// The consumers, by line.
    pub consumers: Vec<ConsumerSeen>,
    /// The last sequence of a ring that was closed.
    pub closed: Option<Sequence>,
    /// Whether the closed ring's name stays until it is removed: `close_and_keep()`.
    pub is_kept: bool,
    /// For whom the closed ring is kept: ids, or "any consumer".
    pub kept_for: Vec<String>,
    /// Whether any consumer has ever had a line of this ring.
    pub has_had_consumers: bool,
    /// What a full ring waits for; `None` while there is space, and in a closed ring.
    pub held_by: Option<HeldBy>,
    /// Whether the next process that opens it finds its events in doubt (R17); `None` where that cannot be told.
    pub is_in_doubt: Option<bool>,
    /// What the ring's name leads to.
    pub name: NameState,
    /// Values that cannot be true, in words: a damaged file, or a peer that does not follow the protocol.
    pub faults: Vec<String>,
}

impl Snapshot {
    /// The part of its life that the ring is in.
    pub fn phase(&self) -> Phase {
        match (self.name, self.producer.liveness, self.closed) {
            (NameState::Gone | NameState::Other, ..) => Phase::Removed,
            _ if self.producer.is_lock_taken => Phase::Locked,
            (_, Liveness::Alive, None) => Phase::Live,
            (_, _, Some(_)) => Phase::Closed,
            (_, Liveness::Dead, None) => Phase::Orphaned,
            (_, Liveness::Unknown, None) => Phase::Unknown,
        }
    }

    /// The consumer that a full ring waits for.
    pub fn blocker(&self) -> Option<&ConsumerSeen> {
        match self.held_by {
            Some(HeldBy::Consumer(index)) => self.consumers.get(index),
            _ => None,
        }
    }

    /// The largest lag of a consumer that the producer waits for; `None` without such a consumer.
    pub fn largest_lag(&self) -> Option<u64> {
        let gating = self.consumers.iter().filter(|consumer| consumer.is_gating);
        gating.map(|consumer| consumer.lag).max()
    }
}

impl Inspector {
    /// Reads the ring. Takes a few system calls for each consumer, and one for each 64 KiB of slots that hold unread
    /// events.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or was cut off.
    ///
    /// # Examples
    ///
    /// See [`Snapshot`].
    pub fn snapshot(&mut self) -> Result<Snapshot, InspectError> {
        let mut tries = 1;
        loop {
            let snapshot = self.take_snapshot()?;
            if snapshot.faults.is_empty() || tries == TRIES {
                return Ok(snapshot);
            }
            tries += 1;
        }
    }

    /// The last published sequence, and the lines: these are no newer.
    pub(crate) fn read_lines(&mut self) -> Result<(Sequence, Box<Control>), InspectError> {
        let floor = self.read_floor()?;
        // what was seen before may be gone: the file was in doubt, or was forged
        let from = match self.seen > floor && self.has_come(self.seen)? {
            true => self.seen,
            false => floor,
        };
        let first = self.published_from(from)?;
        let control = self.read_control()?;
        let published = self.published_from(first.max(floor_of(&control)))?;
        self.seen = published;
        Ok((published, control))
    }

    fn take_snapshot(&mut self) -> Result<Snapshot, InspectError> {
        let (published, control) = self.read_lines()?;
        let mut faults = Vec::new();
        let line = &control.producer;
        let word = line.floor.load(Ordering::Relaxed);
        if word != floor_of(&control) {
            faults.push(format!("the floor is {word}: no ring has such a sequence"));
        }
        let closed = line.closed.load(Ordering::Relaxed);
        let closed = (closed != OPEN).then_some(closed);
        if let Some(last) = closed.filter(|last| !(-1..=MAX_SEQUENCE).contains(last)) {
            faults.push(format!(
                "it was closed at {last}: no ring has such a sequence"
            ));
        }
        let consumers: Vec<_> = control
            .maybe_registered()
            .filter(|index| control.consumers[*index].state() != LineState::Free)
            .map(|index| self.consumer(&control, index, published, &mut faults))
            .collect();
        let wanted = control.waiters.space_wanted.load(Ordering::Relaxed);
        let (liveness, is_lock_taken) = self.producer_liveness();
        let producer = ProducerSeen {
            process: line.owner.load().into(),
            liveness,
            is_lock_taken,
            epoch: line.epoch.load(Ordering::Relaxed),
            sleeps_for: (wanted != NOTHING_WANTED).then_some(wanted),
        };
        let gate = registered::smallest(&control);
        let kept = line.kept.load(Ordering::Relaxed);
        Ok(Snapshot {
            published,
            floor: floor_of(&control),
            gate,
            held_by: match closed {
                None => self.held_by(&control, published, &producer, &consumers),
                Some(_) => None,
            },
            producer,
            consumers,
            closed,
            is_kept: closed.is_some() && kept != 0 && kept != KEPT_UNTIL_DRAINED,
            kept_for: closed.map_or(Vec::new(), |_| registered::kept_for(&control)),
            has_had_consumers: control.consumers.iter().any(has_been_used),
            is_in_doubt: self.is_in_doubt()?,
            name: self.name_state()?,
            faults,
        })
    }

    fn consumer(
        &self,
        control: &Control,
        index: usize,
        published: Sequence,
        faults: &mut Vec<String>,
    ) -> ConsumerSeen {
        let line = &control.consumers[index];
        let state = line.state();
        let position = line.sequence.load(Ordering::Relaxed);
        let untold = doubt::untold(line).map(|(count, _)| count);
        let has_position = state.is_registered();
        // a consumer that has not been told of a doubt stands at a sequence that no event has
        if has_position && untold.is_none() && !(-1..=published).contains(&position) {
            faults.push(format!(
                "consumer line {index} has released {position}, but {published} is the last sequence that is published"
            ));
        }
        let lag = match has_position {
            true => published.saturating_sub(position).clamp(0, self.capacity()) as u64,
            false => 0,
        };
        let asleep = control.waiters.sleepers.load(Ordering::Relaxed);
        ConsumerSeen {
            line: index,
            id: line.id().text(),
            is_durable: line.is_durable(),
            process: line.owner.load().into(),
            presence: presence(line, state, self.liveness_of(line_byte(index))),
            is_gating: has_position,
            position,
            lag,
            is_asleep: asleep & (1 << index) != 0,
            in_doubt: untold,
            note: line.note.load(Ordering::Relaxed),
        }
    }

    /// What a ring without a free slot waits for.
    fn held_by(
        &self,
        control: &Control,
        published: Sequence,
        producer: &ProducerSeen,
        consumers: &[ConsumerSeen],
    ) -> Option<HeldBy> {
        let is_full = |released: Sequence| published.saturating_sub(released) >= self.capacity();
        match registered::furthest_behind(control) {
            Some((index, line)) => {
                let at = consumers
                    .iter()
                    .position(|consumer| consumer.line == index)?;
                is_full(line.sequence.load(Ordering::Relaxed)).then_some(HeldBy::Consumer(at))
            }
            None if !is_full(floor_of(control)) => None,
            None if producer.sleeps_for.is_some() => Some(HeldBy::FirstConsumer),
            None => Some(HeldBy::Nobody),
        }
    }

    fn liveness_of(&self, byte: u64) -> Liveness {
        let held = self
            .locks
            .as_ref()
            .map(|locks| locks.is_held_by_other(byte));
        match held {
            Some(Ok(true)) => Liveness::Alive,
            Some(Ok(false)) => Liveness::Dead,
            Some(Err(_)) | None => Liveness::Unknown,
        }
    }

    /// Whether a producer holds its lock, and whether another process does. That one takes the lock to take the ring
    /// over, to check it or to remove it, and does not vouch for the ring as a producer does (R17).
    fn producer_liveness(&self) -> (Liveness, bool) {
        // a producer that takes the ring over or ends has one of the two locks only for a moment
        for _ in 0..PROBES {
            match (
                self.liveness_of(PRODUCER_BYTE),
                self.liveness_of(VOUCHED_BYTE),
            ) {
                (Liveness::Alive, Liveness::Dead) => crate::clock::sleep(PAUSE),
                (found, _) => return (found, false),
            }
        }
        (Liveness::Dead, true)
    }

    /// As `segment::attach` decides for a process that opens the ring.
    fn is_in_doubt(&self) -> Result<Option<bool>, InspectError> {
        // a doubt is settled before any process takes another lock than the producer's
        let held = self
            .locks
            .as_ref()
            .map(|locks| locks.any_held_by_other(PRODUCER_BYTE + 1..LOCK_BYTES_END));
        if let Some(Ok(Some(_))) = held {
            return Ok(Some(false));
        }
        let fd = self.fd.as_fd();
        let found = origin_of(fd).and_then(|here| is_in_doubt(fd, &here));
        // without the boot's id it cannot be known
        Ok(found.ok())
    }

    /// The epoch of the ring's last producer, if that was of this boot of the machine; `None` also where that cannot be
    /// told. For the layers above.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or was cut off.
    #[doc(hidden)]
    pub fn epoch_of_this_boot(&self) -> Result<Option<u64>, InspectError> {
        let mut line = [0; LINE_BYTES];
        self.read(&mut line, CONTROL_OFFSET as u64)?;
        let vouched_in = Vouched::from_bytes(&line).origin.boot;
        let here = boot::boot_id().unwrap_or(boot::UNKNOWN);
        if here == boot::UNKNOWN || vouched_in != here {
            return Ok(None);
        }
        // read after the boot: a producer stores its epoch before it vouches for the ring
        let control = self.read_control()?;
        Ok(Some(control.producer.epoch.load(Ordering::Relaxed)))
    }

    pub(super) fn name_state(&self) -> Result<NameState, InspectError> {
        let place = &self.place;
        let is_ours = place
            .directory
            .names_same_file(&place.leaf, self.fd.as_fd());
        match is_ours.map_err(|source| place.failed("read the status of its name", source))? {
            true => Ok(NameState::Ours),
            false if std::fs::symlink_metadata(&place.path).is_ok() => Ok(NameState::Other),
            false => Ok(NameState::Gone),
        }
    }
}

/// Whether a consumer has had this line: the owner's words stay when it leaves.
fn has_been_used(line: &ConsumerLine) -> bool {
    line.owner.load() != Owner::NOBODY
}

fn presence(line: &ConsumerLine, state: LineState, liveness: Liveness) -> Presence {
    // a line in these two states was arrived at, whatever the epoch
    let has_arrived = || line.has_come(0, |_| true);
    match (state, liveness) {
        (LineState::Joining | LineState::Settling, Liveness::Alive) => Presence::Joining,
        (_, Liveness::Alive) => Presence::Attached,
        (_, Liveness::Unknown) => Presence::Unknown,
        (LineState::Active | LineState::Away, Liveness::Dead) if line.is_durable() => {
            match has_arrived() {
                true => Presence::Away,
                false => Presence::Expected,
            }
        }
        (_, Liveness::Dead) => Presence::Dead,
    }
}

/// `is_kept` knows three values.
const _: () = assert!(KEPT != 0 && KEPT_UNTIL_DRAINED != 0 && KEPT != KEPT_UNTIL_DRAINED);
