//! Sending: how a message is cut into frames, and how the frames are published.
//!
//! The frames of a message are claimed in runs of at most half the ring and at least one frame, and the frames
//! of a run are published together. So consumers see a message of up to half the ring whole or not at all,
//! whenever its producer dies. A longer message is published run by run as consumers make room. If its producer
//! dies between two runs, consumers drop the part that they have when the next message starts.

use std::io::IoSlice;

use disruptor_mp::{Claim, Deadline, Producer, Sequence};

use super::copy::{SHORT_BYTES, copy_short};
use super::error::{TransportError, TransportResult};
use super::frame::{FrameMeta, FramedTransportFrame, TIME_BYTES, frame_flags};

/// The longest message, in bytes.
///
/// # Examples
///
/// ```
/// assert_eq!(myelon::MAX_MESSAGE_BYTES, 1024 * 1024 * 1024);
/// ```
pub const MAX_MESSAGE_BYTES: usize = 1 << 30;

/// How long a publish may wait.
#[derive(Clone, Copy)]
pub(crate) enum Patience {
    None,
    Until(Deadline),
    /// As long as the required consumers make progress.
    Managed,
}

/// Whether a message of this length can be sent without a call: it fits one frame, and copying it takes a few moves.
pub(super) const fn is_short<F: FramedTransportFrame>(len: usize) -> bool {
    len <= SHORT_BYTES && len <= F::PAYLOAD_BYTES
}

/// Sends a message of one frame in the claimed frame.
#[inline(always)]
pub(super) fn send_in<F: FramedTransportFrame>(
    mut frame: Claim<'_, F>,
    message: &[u8],
    kind: u8,
) -> Sequence {
    let meta = FrameMeta {
        len: message.len() as u32,
        kind,
        flags: frame_flags::START | frame_flags::END,
        msg_id: frame.sequence() as u32,
    };
    *frame.header_mut() = meta.to_bytes();
    put(&mut *frame, 0, message);
    frame.publish()
}

/// Copies `piece` into the payload. A piece that does not fit a payload that is shorter than it should be is
/// left out; consumers then count the frame as malformed.
#[inline(always)]
pub(super) fn put<F: FramedTransportFrame>(frame: &mut F, at: usize, piece: &[u8]) {
    let payload = frame.payload_mut();
    if let Some(to) = payload.get_mut(at..at + piece.len()) {
        match is_short::<F>(piece.len()) {
            true => copy_short(to, piece),
            false => to.copy_from_slice(piece),
        }
    }
}

/// A message in slices that are sent one behind the other. Most messages have one slice.
#[derive(Clone, Copy)]
pub(crate) struct Slices<'a> {
    pub(crate) first: &'a [u8],
    pub(crate) rest: &'a [IoSlice<'a>],
}

impl<'a> Slices<'a> {
    pub(crate) fn one(message: &'a [u8]) -> Self {
        Self {
            first: message,
            rest: &[],
        }
    }

    /// Saturates: slices may share their bytes.
    pub(crate) fn len(self) -> usize {
        let rest = self.rest.iter().map(|slice| slice.len());
        rest.fold(self.first.len(), usize::saturating_add)
    }

    fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        core::iter::once(self.first).chain(self.rest.iter().map(|slice| &**slice))
    }
}

/// A message that is being cut into frames.
pub(super) struct Outgoing<'a> {
    slices: Slices<'a>,
    message_len: usize,
    time: Option<[u8; TIME_BYTES]>,
    kind: u8,
}

impl<'a> Outgoing<'a> {
    pub(super) fn new(slices: Slices<'a>, kind: u8, time: Option<[u8; TIME_BYTES]>) -> Self {
        Self {
            slices,
            message_len: slices.len(),
            time,
            kind,
        }
    }

    fn len(&self) -> usize {
        let time = self.time.map_or(0, |time| time.len());
        self.message_len.saturating_add(time)
    }

    pub(super) fn frames<F: FramedTransportFrame>(&self) -> usize {
        self.len().div_ceil(F::PAYLOAD_BYTES).max(1)
    }

    /// Publishes the message's frames, run by run, and returns the last one's sequence.
    pub(super) fn send_over<F: FramedTransportFrame, B>(
        &self,
        ring: &mut Producer<F, B>,
        patience: Patience,
    ) -> TransportResult<Sequence> {
        let (len, frames) = (self.message_len, self.frames::<F>());
        if len > MAX_MESSAGE_BYTES {
            let limit = MAX_MESSAGE_BYTES;
            return Err(TransportError::MessageTooLong { len, limit });
        }
        let limit = (ring.capacity() / 2).max(1);
        if matches!(patience, Patience::None) && frames > limit {
            return Err(TransportError::NeedsRuns { len, frames, limit });
        }
        let depth = ring.capacity();
        let id = (ring.last_published_sequence() + 1) as u32;
        let mut done = 0;
        loop {
            let run = (frames - done).min(limit);
            let write = |frame: &mut F, index| self.write(frame, done + index, id);
            let last = match patience {
                Patience::None => ring
                    .try_batch_publish(run, write)
                    .map_err(|_| TransportError::Full { frames, depth })?,
                Patience::Until(deadline) => ring.send_batch(run, deadline, write)?,
                Patience::Managed => ring.publish_batch_managed(run, write)?,
            };
            done += run;
            if done == frames {
                return Ok(last);
            }
        }
    }

    /// Writes the message's frame `index`.
    #[inline(always)]
    fn write<F: FramedTransportFrame>(&self, frame: &mut F, index: usize, msg_id: u32) {
        let from = index * F::PAYLOAD_BYTES;
        let rest = self.len() - from;
        let here = rest.min(F::PAYLOAD_BYTES);
        let mut flags = 0;
        if index == 0 {
            flags |= frame_flags::START;
        }
        if here == rest {
            flags |= frame_flags::END;
        }
        if self.time.is_some() {
            flags |= frame_flags::TIMED;
        }
        let meta = FrameMeta {
            len: rest as u32,
            kind: self.kind,
            flags,
            msg_id,
        };
        *frame.header_mut() = meta.to_bytes();
        match (self.slices.rest, &self.time) {
            ([], None) => put(frame, 0, &self.slices.first[from..from + here]),
            _ => self.gather(frame, from, here),
        }
    }

    /// Copies the `here` bytes of the message from `from` on, and those of the time behind it.
    fn gather<F: FramedTransportFrame>(&self, frame: &mut F, from: usize, here: usize) {
        let time = self.time.as_ref().map(|time| &time[..]);
        let end = from + here;
        let mut start = 0;
        for slice in self.slices.iter().chain(time) {
            let overlap = from.max(start)..end.min(start + slice.len());
            if !overlap.is_empty() {
                let bytes = &slice[overlap.start - start..overlap.end - start];
                put(frame, overlap.start - from, bytes);
            }
            start += slice.len();
        }
    }
}
