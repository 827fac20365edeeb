//! Messages of several frames, and those with a time: their frames are taken in one by one.

use disruptor_mp::{Consumer, Lease, Sequence};

use super::super::buffer::ReassemblyBuffer;
use super::super::frame::{
    FrameMeta, FramedTransportFrame, TIME_BYTES, frame_flags, is_last_frame,
};
use super::super::outgoing::MAX_MESSAGE_BYTES;
use super::{Assembler, ReceivedMessageMeta, State, is_start_at};

/// A message of which more frames are expected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Partial {
    /// The message that it will be.
    pub(super) whole: Whole,
    /// How many of its frames have come.
    pub(super) taken: usize,
}

/// A message that can be delivered.
#[derive(Clone, Copy, Debug)]
pub(in crate::transport) struct Whole {
    /// The header of its first frame.
    start: FrameMeta,
    first: Sequence,
    pub(super) frames: usize,
    pub(super) is_spilled: bool,
}

impl Assembler {
    /// Takes in one frame. Returns how many of the held frames are to be released, oldest first.
    pub(super) fn take_in<F: FramedTransportFrame>(
        &mut self,
        frame: Lease<'_, F>,
        depth: usize,
    ) -> usize {
        let sequence = frame.sequence();
        // the check must hold for the values that are used, so it is done on a copy (R1)
        let header = *frame.header();
        let meta = FrameMeta::from_bytes(&header);
        let mut released = 0;
        match (meta, self.state) {
            (Some(meta), state) if meta.flags & frame_flags::START != 0 => {
                if matches!(state, State::Within(_)) {
                    self.received.truncated += 1;
                    released = self.let_go();
                }
                match self.start::<F>(meta, sequence, depth) {
                    Some(partial) => self.state = State::Within(partial),
                    None => return self.pass_over(frame),
                }
            }
            (Some(meta), State::Within(partial)) if partial.goes_on_with::<F>(meta, sequence) => {}
            (Some(_), State::Between) => {
                self.received.orphans += 1;
                return self.pass_over(frame);
            }
            _ => {
                self.received.malformed += 1;
                return self.pass_over(frame);
            }
        }
        self.keep(frame, meta.map_or(0, |meta| meta.len as usize));
        released
    }

    /// The message that a START frame begins, if the frame is valid and the message within the limit.
    fn start<F: FramedTransportFrame>(
        &mut self,
        meta: FrameMeta,
        sequence: Sequence,
        depth: usize,
    ) -> Option<Partial> {
        let len = meta.len as usize;
        let is_last = len <= F::PAYLOAD_BYTES;
        if !is_start_at(meta, sequence)
            || is_last != is_last_frame(meta.flags)
            || len > MAX_MESSAGE_BYTES + TIME_BYTES
        {
            self.received.malformed += 1;
            return None;
        }
        if meta.message_len() > self.limit {
            self.received.too_long += 1;
            return None;
        }
        let frames = len.div_ceil(F::PAYLOAD_BYTES).max(1);
        let is_spilled = frames > depth;
        if is_spilled {
            // a length in shared memory is trusted only up to the size of the ring
            self.spill
                .restart(depth.saturating_mul(F::PAYLOAD_BYTES).min(len));
        }
        let whole = Whole {
            start: meta,
            first: sequence,
            frames,
            is_spilled,
        };
        Some(Partial { whole, taken: 0 })
    }

    /// Keeps the frame as the next one of the current message; `rest` is the message's bytes from this frame to
    /// its end.
    fn keep<F: FramedTransportFrame>(&mut self, frame: Lease<'_, F>, rest: usize) {
        let State::Within(mut partial) = self.state else {
            return;
        };
        let Some(piece) = frame.payload().get(..rest.min(F::PAYLOAD_BYTES)) else {
            self.received.malformed += 1;
            self.pass_over(frame);
            return;
        };
        partial.taken += 1;
        let is_whole = partial.taken == partial.whole.frames;
        if partial.whole.is_spilled {
            self.spill.extend(piece);
        }
        if partial.whole.is_spilled && !is_whole {
            self.undelivered += 1;
            self.done = 0;
            frame.commit();
        } else {
            frame.hold();
        }
        self.state = match is_whole {
            true => State::Whole(partial.whole),
            false => State::Within(partial),
        };
    }

    /// Releases the frame and every held frame before it.
    fn pass_over<F: FramedTransportFrame>(&mut self, frame: Lease<'_, F>) -> usize {
        self.undelivered += 1 + self.held();
        self.state = State::Between;
        self.done = 0;
        frame.commit();
        0
    }

    /// Drops the current message. Returns how many held frames are to be released.
    pub(super) fn let_go(&mut self) -> usize {
        let held = self.held();
        self.undelivered += held;
        self.state = State::Between;
        core::mem::take(&mut self.done) + held
    }

    /// How many held frames belong to the current, incomplete message.
    fn held(&self) -> usize {
        match self.state {
            State::Within(partial) if !partial.whole.is_spilled => partial.taken,
            _ => 0,
        }
    }

    /// The pieces of a whole message whose frames are held in the ring. The last 8 bytes of a timed message are
    /// its time.
    fn pieces<'a, F: FramedTransportFrame, B>(
        &self,
        ring: &'a Consumer<F, B>,
        whole: Whole,
    ) -> impl Iterator<Item = &'a [u8]> {
        let len = whole.start.len as usize;
        let done = self.done;
        (0..whole.frames).map(move |index| {
            let here = (len - index * F::PAYLOAD_BYTES).min(F::PAYLOAD_BYTES);
            let payload = ring.held(done + index).map(FramedTransportFrame::payload);
            payload
                .and_then(|payload| payload.get(..here))
                .unwrap_or_default()
        })
    }

    /// Copies a whole message that is held in several frames into `buffer`. Other messages are not copied:
    /// [`bytes`](Self::bytes) reads them where they are.
    pub(in crate::transport) fn put_together<F: FramedTransportFrame, B>(
        &self,
        ring: &Consumer<F, B>,
        whole: Whole,
        buffer: &mut ReassemblyBuffer,
    ) {
        if whole.frames > 1 && !whole.is_spilled {
            buffer.restart(whole.start.len as usize);
            self.pieces(ring, whole)
                .for_each(|piece| buffer.extend(piece));
            buffer.truncate(whole.len());
        }
    }

    /// The bytes of a whole message. A message of several held frames must have been [put
    /// together](Self::put_together) in `buffer`.
    #[inline]
    pub(in crate::transport) fn bytes<'a, F: FramedTransportFrame, B>(
        &'a self,
        ring: &'a Consumer<F, B>,
        whole: Whole,
        buffer: &'a ReassemblyBuffer,
    ) -> &'a [u8] {
        if whole.is_spilled {
            self.spill.as_slice().get(..whole.len()).unwrap_or_default()
        } else if whole.frames > 1 {
            buffer.as_slice()
        } else {
            let payload = ring.held(self.done).map(FramedTransportFrame::payload);
            payload
                .and_then(|payload| payload.get(..whole.len()))
                .unwrap_or_default()
        }
    }

    /// Takes a whole message out as a vector; it cannot be delivered again.
    pub(in crate::transport) fn take_vec<F: FramedTransportFrame, B>(
        &mut self,
        ring: &Consumer<F, B>,
        whole: Whole,
    ) -> Vec<u8> {
        if whole.is_spilled {
            self.spill.truncate(whole.len());
            return self.spill.take();
        }
        let mut message = Vec::with_capacity(whole.start.len as usize);
        self.pieces(ring, whole)
            .for_each(|piece| message.extend_from_slice(piece));
        message.truncate(whole.len());
        message
    }

    /// Called after the caller has read a message that was copied out of the ring piece by piece: moves that
    /// message to `buffer`.
    #[inline]
    pub(in crate::transport) fn give_back(&mut self, whole: Whole, buffer: &mut ReassemblyBuffer) {
        if whole.is_spilled {
            self.spill.truncate(whole.len());
            core::mem::swap(buffer, &mut self.spill);
        }
    }

    /// Everything that is known about a whole message.
    pub(in crate::transport) fn meta<F: FramedTransportFrame, B>(
        &self,
        ring: &Consumer<F, B>,
        whole: Whole,
    ) -> ReceivedMessageMeta {
        ReceivedMessageMeta {
            kind: whole.start.kind,
            len: whole.len(),
            frames: whole.frames,
            first_sequence: whole.first,
            sent_at_ns: (whole.start.is_timed()).then(|| self.sent_at(ring, whole)),
        }
    }

    /// The message's last 8 bytes, which may be spread over up to 8 frames.
    fn sent_at<F: FramedTransportFrame, B>(&self, ring: &Consumer<F, B>, whole: Whole) -> u64 {
        let byte = |at: usize| match whole.is_spilled {
            true => self.spill.as_slice().get(at),
            false => {
                let frame = ring.held(self.done + at / F::PAYLOAD_BYTES);
                frame.and_then(|frame| frame.payload().get(at % F::PAYLOAD_BYTES))
            }
        };
        let time = core::array::from_fn(|index| byte(whole.len() + index).copied().unwrap_or(0));
        u64::from_ne_bytes(time)
    }
}

impl Partial {
    /// Whether this is the header of the message's next frame.
    fn goes_on_with<F: FramedTransportFrame>(&self, meta: FrameMeta, sequence: Sequence) -> bool {
        let is_last = self.taken + 1 == self.whole.frames;
        let marks = frame_flags::START | frame_flags::END;
        let end = if is_last { frame_flags::END } else { 0 };
        let before = self.taken * F::PAYLOAD_BYTES;
        sequence == self.whole.first + self.taken as Sequence
            && meta.msg_id == self.whole.start.msg_id
            && meta.kind == self.whole.start.kind
            && meta.len as usize == self.whole.start.len as usize - before
            && meta.flags == self.whole.start.flags & !marks | end
    }
}

impl Whole {
    pub(in crate::transport) fn kind(&self) -> u8 {
        self.start.kind
    }

    /// The message's length in bytes.
    pub(super) fn len(&self) -> usize {
        self.start.message_len()
    }
}
