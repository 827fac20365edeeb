//! Messages of one frame without a time, which are delivered from the ring's next frame.

use disruptor_mp::{Lease, Sequence};

use super::super::frame::{FrameMeta, FramedTransportFrame, frame_flags};
use super::{Assembler, ReceivedMessageMeta, is_start_at};

/// A message of one frame without a time: the contents of its header, and its sequence. All fields are whole
/// words, so that moving the struct through memory does not wait for earlier stores.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::transport) struct Single {
    len: usize,
    kind: usize,
    sequence: Sequence,
}

impl Single {
    /// The message that this frame is, if it is a whole message of up to `limit` bytes. Every condition for
    /// that is checked.
    #[inline(always)]
    pub(in crate::transport) fn of<F: FramedTransportFrame>(
        frame: &Lease<'_, F>,
        limit: usize,
    ) -> Option<Self> {
        let room = frame.payload().len().min(F::PAYLOAD_BYTES).min(limit);
        // the check must hold for the values that are used, so it is done on a copy (R1)
        let header = *frame.header();
        let meta = FrameMeta::from_bytes(&header)?;
        let is_single = meta.flags == frame_flags::START | frame_flags::END
            && meta.len as usize <= room
            && is_start_at(meta, frame.sequence());
        is_single.then_some(Self {
            len: meta.len as usize,
            kind: meta.kind.into(),
            sequence: frame.sequence(),
        })
    }

    /// The kind of the message.
    #[inline(always)]
    pub(in crate::transport) fn kind(self) -> u8 {
        self.kind as u8
    }

    /// The message's bytes.
    #[inline(always)]
    pub(in crate::transport) fn message<F: FramedTransportFrame>(self, frame: &F) -> &[u8] {
        match frame.payload().get(..self.len) {
            Some(message) => message,
            None => nothing(),
        }
    }

    /// Everything that is known about the message.
    #[inline(always)]
    pub(in crate::transport) fn meta(self) -> ReceivedMessageMeta {
        ReceivedMessageMeta {
            kind: self.kind(),
            len: self.len,
            frames: 1,
            first_sequence: self.sequence,
            sent_at_ns: None,
        }
    }
}

/// An empty message, for a case that cannot occur. It is a cold branch, because a choice between two addresses
/// would make the payload's address depend on the frame's header: the processor would then fetch the payload's
/// lines after the header's line, not together with it.
#[cold]
#[inline(never)]
fn nothing<'a>() -> &'a [u8] {
    &[]
}

impl Assembler {
    /// Notes that a message of one frame was delivered, and that its frame is held.
    #[inline(always)]
    pub(in crate::transport) fn keep_frame(&mut self) {
        self.count();
        self.done += 1;
    }

    /// Whether this frame, the ring's next one, is a whole message. If so, that message can be lent. In either
    /// case the frame stays the ring's next one. The state must be `Between`.
    #[inline(always)]
    pub(in crate::transport) fn lend<F: FramedTransportFrame>(
        &mut self,
        frame: Lease<'_, F>,
    ) -> bool {
        let single = Single::of(&frame, self.limit);
        frame.release_uncommitted();
        if let Some(single) = single {
            self.single = single;
        }
        single.is_some()
    }

    /// Counts a message of one frame that was delivered.
    #[inline(always)]
    pub(in crate::transport) fn count(&mut self) {
        self.received.messages += 1;
    }
}
