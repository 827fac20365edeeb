//! Stamps and events, read from outside.
//!
//! A stamp is read before and after an event's bytes. In a ring that was made for observers, an unchanged stamp means
//! that the bytes are whole (R13). In any other ring, a producer writes over an event while the old stamp is still
//! there, but never before it has moved the floor past the event and fenced (R5). So the floor is read after the
//! bytes, too.

use super::{InspectError, Inspector};
use crate::Sequence;
use crate::layout::stamp::{self, MAX_SEQUENCE};
use crate::sync::{Ordering, fence};

/// How many bytes of slots are read at once.
const CHUNK_BYTES: usize = 64 << 10;
/// The number of slots in the first chunk, which is often enough.
const CHUNK_SLOTS: usize = 16;
/// With larger slots, each stamp is read by itself.
const CHUNKED_STRIDE: usize = 1024;

/// What was found where an event should be.
///
/// # Examples
///
/// ```
/// use disruptor_mp::inspect::{Inspector, Sighting};
///
/// # let name = disruptor_mp::portable_shm_segment_name("doc");
/// let mut tx = disruptor_mp::publisher::<u64>(&name, 2)?.free_running();
/// tx.send_batch(2, disruptor_mp::Deadline::NEVER, |_, _| {})?;
/// tx.send_value(7, disruptor_mp::Deadline::NEVER)?;
/// let ring = Inspector::open_shared_memory(&name)?;
/// assert_eq!(ring.read_event(0, &mut [])?, Sighting::Gone);   // the third event has its slot
/// # tx.destroy()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sighting {
    /// The event, whole.
    Whole,
    /// It is not published.
    NotYet,
    /// It is gone, or may be written over at this moment.
    Gone,
}

impl Inspector {
    /// Reads the first bytes of an event, as many as `bytes` has room for; the rest of `bytes` stays as it is. The
    /// bytes count only if the result is [`Sighting::Whole`].
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or was cut off.
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::Deadline;
    /// use disruptor_mp::inspect::{Inspector, Sighting};
    ///
    /// # let name = disruptor_mp::portable_shm_segment_name("doc");
    /// let mut tx = disruptor_mp::publisher::<u64>(&name, 8)?;
    /// tx.send(Deadline::NEVER, |event| *event = 7)?;
    ///
    /// let ring = Inspector::open_shared_memory(&name)?;
    /// let mut bytes = [0; 8];
    /// assert_eq!(ring.read_event(0, &mut bytes)?, Sighting::Whole);
    /// assert_eq!(u64::from_ne_bytes(bytes), 7);
    /// assert_eq!(ring.read_event(1, &mut bytes)?, Sighting::NotYet);
    /// # tx.destroy()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read_event(
        &self,
        sequence: Sequence,
        bytes: &mut [u8],
    ) -> Result<Sighting, InspectError> {
        if !(0..=MAX_SEQUENCE).contains(&sequence) {
            return Ok(Sighting::NotYet);
        }
        let before = self.stamp(sequence)?;
        if before != stamp::published(sequence) {
            let is_passed = stamp::sequence_of(before).is_some_and(|found| found > sequence);
            // the stamp may have been stored between the two reads, so it is read again
            let is_gone =
                is_passed || (self.read_floor()? >= sequence && self.stamp(sequence)? == before);
            return Ok(if is_gone {
                Sighting::Gone
            } else {
                Sighting::NotYet
            });
        }
        fence(Ordering::SeqCst);
        let size = usize::try_from(self.header.event.size).unwrap_or(usize::MAX);
        let length = bytes.len().min(size);
        let event_at = self.slot_at(sequence) + self.header.geometry.shape.event_offset as u64;
        self.read(&mut bytes[..length], event_at)?;
        fence(Ordering::SeqCst);
        let is_whole = match self.header.is_observed {
            true => self.stamp(sequence)? == before,
            false => self.read_floor()? < sequence && self.stamp(sequence)? == before,
        };
        Ok(if is_whole {
            Sighting::Whole
        } else {
            Sighting::Gone
        })
    }

    /// The last published sequence, searched from `from` on, up to which everything is known to be published. Events
    /// that were published when the call began are found; later ones may be.
    ///
    /// Each stamp is read, as a batch publishes its first event last (R2).
    pub(super) fn published_from(&self, from: Sequence) -> Result<Sequence, InspectError> {
        let mut last = from;
        let mut stamps = Stamps::new(self);
        // bounded, so that the search does not follow a producer that goes on meanwhile
        let end = last.saturating_add(self.capacity()).min(MAX_SEQUENCE);
        while last < end {
            let next = last + 1;
            let word = stamps.of(next)?;
            let has_come = match stamp::sequence_of(word) {
                Some(found) if found == next => word == stamp::published(next),
                Some(found) => found > next,
                None => false,
            };
            if has_come {
                last = next;
                continue;
            }
            // the stamp of an event that was published, and whose slot was claimed again, may be zeroed
            match self.read_floor()? {
                floor if floor > last => last = floor.min(end),
                _ => break,
            }
        }
        Ok(last)
    }

    /// Whether the event of this sequence was published, by its slot's stamp alone.
    pub(super) fn has_come(&self, sequence: Sequence) -> Result<bool, InspectError> {
        let word = self.stamp(sequence)?;
        let found = stamp::sequence_of(word).unwrap_or(-1);
        Ok(found > sequence || word == stamp::published(sequence))
    }

    fn slot_at(&self, sequence: Sequence) -> u64 {
        let index = sequence as u64 & (self.header.geometry.capacity - 1);
        self.header.geometry.slots_offset + index * self.header.geometry.shape.stride as u64
    }

    fn stamp(&self, sequence: Sequence) -> Result<u64, InspectError> {
        let mut word = [0; 8];
        let at = self.slot_at(sequence) + self.header.geometry.shape.stamp_offset as u64;
        self.read(&mut word, at)?;
        Ok(u64::from_ne_bytes(word))
    }
}

/// The stamps of consecutive sequences, read in chunks.
struct Stamps<'a> {
    ring: &'a Inspector,
    /// Whole slots, from the slot of `first` on.
    bytes: Vec<u8>,
    first: Sequence,
    count: usize,
}

impl<'a> Stamps<'a> {
    fn new(ring: &'a Inspector) -> Self {
        Self {
            ring,
            bytes: Vec::new(),
            first: 0,
            count: 0,
        }
    }

    fn of(&mut self, sequence: Sequence) -> Result<u64, InspectError> {
        let shape = self.ring.header.geometry.shape;
        if shape.stride > CHUNKED_STRIDE {
            return self.ring.stamp(sequence);
        }
        let is_there = (self.first..self.first + self.count as Sequence).contains(&sequence);
        if !is_there {
            self.fetch(sequence)?;
        }
        let at = (sequence - self.first) as usize * shape.stride + shape.stamp_offset;
        Ok(u64::from_ne_bytes(core::array::from_fn(|i| {
            self.bytes[at + i]
        })))
    }

    /// Reads the slots from that of `sequence` on, at most to the end of the ring.
    fn fetch(&mut self, sequence: Sequence) -> Result<(), InspectError> {
        let geometry = self.ring.header.geometry;
        let wanted = (self.count * 2).max(CHUNK_SLOTS);
        let to_end = geometry.capacity - (sequence as u64 & (geometry.capacity - 1));
        let most = CHUNK_BYTES / geometry.shape.stride;
        self.count = wanted.min(most).min(to_end as usize);
        self.first = sequence;
        self.bytes.resize(self.count * geometry.shape.stride, 0);
        let at = self.ring.slot_at(sequence);
        self.ring.read(&mut self.bytes, at)
    }
}
