//! The values that follow from a ring's lines. They are read from there for each snapshot, and stored nowhere else.
//!
//! A process that has the ring open reads the lines where they are mapped. Every other process opens the ring's file
//! for the time of a reading. Both check that the line still belongs to the endpoint: it may have died, and another may
//! have taken its line since.

use core::ptr;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use super::CounterId;
use crate::Sequence;
use crate::event::Event;
#[cfg(not(loom))]
use crate::inspect::Inspector;
use crate::layout::control::{Control, Owner};
use crate::layout::stamp::{self, MAX_SEQUENCE};
use crate::protocol::consume::ConsumerCore;
use crate::protocol::view::RingView;
use crate::region::Region;
use crate::segment::Segment;
use crate::sync::{Ordering, process};

/// The line of an endpoint, and what it counts from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// The index of a consumer's line; `None` for the producer's.
    pub(super) line: Option<usize>,
    /// When the ring was created.
    pub(super) created_unix_ns: u64,
    /// The epoch in the line.
    pub(super) epoch: u64,
    /// The owner in the line.
    pub(super) owner: Owner,
    /// The first sequence that counts.
    pub(super) first: Sequence,
    /// Bytes of an event.
    pub(super) event_bytes: u64,
}

/// Where an endpoint stands in its ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The last sequence that is published.
    published: Sequence,
    /// The last sequence that a consumer has released; for a producer, the last that is published.
    released: Sequence,
    /// How many published events are not released.
    lag: u64,
}

impl Standing {
    /// `released` may be older than `published`: a lag is no larger than the ring all the same.
    pub(crate) fn new(published: Sequence, released: Sequence, capacity: usize) -> Self {
        let lag = published.saturating_sub(released);
        Self {
            published,
            released,
            lag: lag.clamp(0, capacity as i64) as u64,
        }
    }

    /// As this one, of a consumer that has no place in the ring, so that nothing waits for it.
    pub(crate) fn without_lag(self) -> Self {
        Self { lag: 0, ..self }
    }

    pub(super) fn lag(self) -> u64 {
        self.lag
    }

    /// The value of a counter that counts from `first`; `None` if it does not follow from the lines alone.
    pub(super) fn value(self, id: CounterId, first: Sequence, event_bytes: u64) -> Option<u64> {
        let count = |last: Sequence| last.saturating_sub(first).saturating_add(1).max(0) as u64;
        match id {
            // in a ring of frames, each event is one frame
            CounterId::EVENTS_PUBLISHED | CounterId::FRAMES_PUBLISHED => {
                Some(count(self.published))
            }
            CounterId::BYTES_PUBLISHED => Some(count(self.published).wrapping_mul(event_bytes)),
            CounterId::EVENTS_CONSUMED => Some(count(self.released)),
            CounterId::BYTES_CONSUMED => Some(count(self.released).wrapping_mul(event_bytes)),
            CounterId::CONSUMER_LAG => Some(self.lag),
            _ => None,
        }
    }
}

impl Source {
    /// `None` for a counter whose value is not in the lines.
    pub(super) fn of<E: Event>(
        id: CounterId,
        segment: &Segment<E>,
        line: Option<usize>,
        first: Sequence,
    ) -> Option<Self> {
        let nowhere = Standing::new(0, 0, 0);
        if id != CounterId::CONSUMER_LAG_MAX && nowhere.value(id, first, 0).is_none() {
            return None;
        }
        let (epoch, owner) = holder(segment.control(), line)?;
        Some(Self {
            line,
            created_unix_ns: segment.created_unix_ns,
            epoch,
            owner,
            first,
            event_bytes: size_of::<E>() as u64,
        })
    }

    /// The value at this moment. `stored` is the one in the slot.
    pub(super) fn value(&self, id: CounterId, at: Standing, stored: u64) -> u64 {
        let value = at.value(id, self.first, self.event_bytes);
        // the largest lag is at least the present one
        value.unwrap_or_else(|| stored.max(at.lag()))
    }

    /// Whether the line is still the endpoint's own.
    fn is_held(&self, control: &Control) -> bool {
        holder(control, self.line) == Some((self.epoch, self.owner))
    }

    /// What the line says, if it is still the endpoint's own.
    fn place(&self, control: &Control) -> Option<Place> {
        if !self.is_held(control) {
            return None;
        }
        let consumer = self.line.map(|line| &control.consumers[line]);
        let place = Place {
            released: consumer.map(|line| line.sequence.load(Ordering::Acquire)),
            is_registered: consumer.is_none_or(|line| line.state().is_registered()),
        };
        self.is_held(control).then_some(place)
    }
}

/// What the line of an endpoint says. It is read before what is published, so that a lag is never too small.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The last sequence that a consumer has released; `None` for a producer.
    released: Option<Sequence>,
    /// Whether the ring's producer waits for it.
    is_registered: bool,
}

impl Place {
    fn standing(self, published: Sequence, capacity: usize) -> Standing {
        // a consumer that has not been told of a doubt stands at a sequence that no event has
        let released = self
            .released
            .map_or(published, |released| released.clamp(-1, published.max(-1)));
        let standing = Standing::new(published, released, capacity);
        match self.is_registered {
            true => standing,
            false => standing.without_lag(),
        }
    }
}

/// Epoch and owner of a line; `None` if there is no such line, which a damaged file may name.
fn holder(control: &Control, line: Option<usize>) -> Option<(u64, Owner)> {
    let (epoch, owner) = match line {
        None => (&control.producer.epoch, &control.producer.owner),
        Some(line) => {
            let line = control.consumers.get(line)?;
            (&line.epoch, &line.owner)
        }
    };
    Some((epoch.load(Ordering::Relaxed), owner.load()))
}

/// A ring that this process has open. Each answer is `None` if it is no longer open, or the line has another owner.
pub(super) trait OpenRing: Send + Sync {
    fn place(&self, source: &Source) -> Option<Place>;

    /// Where the endpoint stands that had this place.
    fn standing(&self, source: &Source, place: Place, readings: &mut Readings) -> Option<Standing>;
}

/// The mapped lines and stamps of a ring.
pub(super) struct Mapped<E> {
    /// Weak, so that the ring ends with its endpoint.
    region: Weak<dyn Region>,
    view: RingView<E>,
    ring: RingId,
    /// A sequence that was found published.
    seen: process::AtomicI64,
}

/// A ring, whichever endpoint has it open: path and time of creation; on the heap, the address of its lines.
type RingId = (Option<PathBuf>, u64);

impl<E: Event> Mapped<E> {
    pub(super) fn of(segment: &Segment<E>) -> Self {
        Self {
            region: Arc::downgrade(segment.region()),
            view: segment.view,
            ring: match segment.region().path() {
                Some(path) => (Some(path.to_owned()), segment.created_unix_ns),
                None => (None, ptr::from_ref(segment.control()).addr() as u64),
            },
            seen: process::AtomicI64::new(-1),
        }
    }

    /// The lines and stamps, while they are mapped. The region keeps them so.
    fn open(&self) -> Option<(Arc<dyn Region>, &Control)> {
        let region = self.region.upgrade()?;
        // in a forked child nothing is mapped there (R8)
        let is_live = region.live_word().load(process::Ordering::Relaxed) != 0;
        is_live.then(|| (region, self.view.control()))
    }

    /// Whether the event of this sequence was published, by its slot's stamp alone.
    fn has_come(&self, sequence: Sequence) -> bool {
        let word = self.view.stamp(sequence).load(Ordering::Acquire);
        let found = stamp::sequence_of(word).unwrap_or(-1);
        found > sequence || word == stamp::published(sequence)
    }

    /// The last published sequence. Everything is found that was published when the call began.
    fn published(&self) -> Sequence {
        let floor = || {
            let floor = &self.view.control().producer.floor;
            floor.load(Ordering::Acquire).clamp(-1, MAX_SEQUENCE)
        };
        let mut last = floor();
        // what was seen before may be gone: the file was in doubt, or was forged
        let seen = self.seen.load(process::Ordering::Relaxed);
        if seen > last && self.has_come(seen) {
            last = seen;
        }
        // bounded, so that the search does not follow a producer that goes on meanwhile
        let enough = last.saturating_add(self.view.capacity() as i64);
        loop {
            last = ConsumerCore::new(self.view, 0, last + 1).newest();
            // the producer moves the floor before it writes over a stamp (R5)
            match floor() {
                passed if passed > last && last < enough => last = passed,
                _ => break,
            }
        }
        self.seen.store(last, process::Ordering::Relaxed);
        last
    }
}

impl<E: Event> OpenRing for Mapped<E> {
    fn place(&self, source: &Source) -> Option<Place> {
        let (_region, control) = self.open()?;
        source.place(control)
    }

    fn standing(&self, source: &Source, place: Place, readings: &mut Readings) -> Option<Standing> {
        let (_region, control) = self.open()?;
        let published = *readings
            .published
            .entry(self.ring.clone())
            .or_insert_with(|| self.published());
        // a successor may have published some of these
        let is_held = source.is_held(control);
        is_held.then(|| place.standing(published, self.view.capacity()))
    }
}

/// What is read for one snapshot, once for each ring.
#[derive(Default)]
pub(super) struct Readings {
    /// The last published sequence of rings that this process has open.
    published: BTreeMap<RingId, Sequence>,
    /// The lines of the others.
    rings: BTreeMap<PathBuf, Option<Reading>>,
}

/// The lines of a ring's file.
struct Reading {
    created_unix_ns: u64,
    capacity: usize,
    published: Sequence,
    control: Box<Control>,
}

impl Readings {
    /// Where the endpoint stands in the ring at this path; `None` if that is another ring by now, or cannot be read.
    pub(super) fn standing(&mut self, path: &Path, source: &Source) -> Option<Standing> {
        let read = || Reading::of(path);
        let reading = self.rings.entry(path.to_owned()).or_insert_with(read);
        let ring = reading.as_ref()?;
        let is_the_ring = ring.created_unix_ns == source.created_unix_ns;
        let place = source.place(&ring.control).filter(|_| is_the_ring)?;
        Some(place.standing(ring.published, ring.capacity))
    }
}

impl Reading {
    #[cfg(not(loom))]
    fn of(path: &Path) -> Option<Self> {
        let mut ring = Inspector::open(path).ok()?;
        let (published, control) = ring.read_lines().ok()?;
        Some(Self {
            created_unix_ns: ring.header().created_unix_ns,
            capacity: ring.info().capacity as usize,
            published,
            control,
        })
    }

    /// The model checker has no files.
    #[cfg(loom)]
    fn of(_: &Path) -> Option<Self> {
        None
    }
}
