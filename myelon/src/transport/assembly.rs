//! Putting messages together from frames.
//!
//! Frames are held in the ring, unreleased, until their message was delivered: a consumer that dies gets the message
//! again. Only a message that the ring cannot hold is copied out frame by frame; of such a one, a consumer that comes
//! back gets what follows, and drops it. Its last frame is held like any other, so that a message that is not delivered
//! has a frame in the ring, whatever its length: who waits for the ring is told of it.
//!
//! A frame that does not belong where it is takes the message in hand with it, nothing else: what follows is dropped up
//! to the next START, and that message is delivered. So no damage outlives a message.

use disruptor_mp::{Consumer, Deadline, Lease, RecvError, Sequence};

use super::buffer::ReassemblyBuffer;
use super::frame::{FrameMeta, FramedTransportFrame, TIME_BYTES, frame_flags, is_last_frame};
use super::producer::MAX_MESSAGE_BYTES;

/// How many messages were received, and what was dropped instead of being delivered.
///
/// # Examples
///
/// ```
/// use myelon::Deadline;
/// use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer};
///
/// let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
/// let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
/// let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
/// tx.ring().publish(|_frame| {}); // no frame of a message
/// tx.publish(b"hello", 1)?;
/// assert_eq!(&*rx.recv(Deadline::NEVER)?, b"hello");
/// assert_eq!((rx.received().messages, rx.received().malformed), (1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// Messages that were delivered.
    pub messages: u64,
    /// Of those, the ones of more than one frame.
    pub reassembled: u64,
    /// Messages whose end never came: their producer died or gave up in the middle.
    pub truncated: u64,
    /// Frames that are damaged, or do not belong where they are; the message in hand was dropped with them.
    pub malformed: u64,
    /// Messages over this consumer's limit.
    pub too_long: u64,
    /// Frames whose message began before this consumer did, or was dropped.
    pub orphans: u64,
}

impl Received {
    /// How many messages were dropped, as far as that can be told.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::Deadline;
    /// # use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer};
    /// # let ring = myelon::HeapRing::<FixedFrame<64>>::new(8)?;
    /// # let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    /// # let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
    /// tx.ring().publish(|_frame| {}); // damage
    /// tx.publish(b"hello", 7)?;
    /// rx.recv_owned(Deadline::NEVER)?;
    /// assert_eq!(rx.received().dropped(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn dropped(&self) -> u64 {
        self.truncated + self.malformed + self.too_long
    }
}

/// What is known of a whole message beside its bytes.
///
/// # Examples
///
/// ```
/// use myelon::Deadline;
/// use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer};
///
/// let ring = myelon::HeapRing::<FixedFrame<4>>::new(8)?;
/// let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
/// let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
/// tx.stamp_send_times(true).publish(b"hello", 7)?;
/// let meta = rx.recv(Deadline::NEVER)?.meta();
/// assert_eq!((meta.kind, meta.len, meta.frames, meta.first_sequence), (7, 5, 4, 0));
/// assert!(meta.sent_at_ns.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivedMessageMeta {
    /// What the message is; the program's choice.
    pub kind: u8,
    /// Its length in bytes.
    pub len: usize,
    /// How many frames it took.
    pub frames: usize,
    /// The sequence of the first of them.
    pub first_sequence: Sequence,
    /// When it was sent, in nanoseconds of the machine's monotonic clock (`CLOCK_MONOTONIC`): of messages whose producer
    /// [stamps them](super::FramedTransportProducer::stamp_send_times).
    pub sent_at_ns: Option<u64>,
}

/// A message that a frame is by itself, without a time: what its header says, and where it is. Words, which are moved
/// through memory without waiting.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Single {
    len: usize,
    kind: usize,
    sequence: Sequence,
}

impl Single {
    /// The message that the frame is, of up to `limit` bytes: all of what makes it one was looked at.
    #[inline(always)]
    pub(super) fn of<F: FramedTransportFrame>(frame: &Lease<'_, F>, limit: usize) -> Option<Self> {
        let room = frame.payload().len().min(F::PAYLOAD_BYTES).min(limit);
        // a copy: the check holds for what is used
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

    /// What the message is.
    #[inline(always)]
    pub(super) fn kind(self) -> u8 {
        self.kind as u8
    }

    /// The message's bytes.
    #[inline(always)]
    pub(super) fn message<F: FramedTransportFrame>(self, frame: &F) -> &[u8] {
        match frame.payload().get(..self.len) {
            Some(message) => message,
            None => nothing(),
        }
    }

    /// Everything that is known of it.
    #[inline(always)]
    pub(super) fn meta(self) -> ReceivedMessageMeta {
        ReceivedMessageMeta {
            kind: self.kind(),
            len: self.len,
            frames: 1,
            first_sequence: self.sequence,
            sent_at_ns: None,
        }
    }
}

/// What cannot come. It is a branch and no choice between two addresses: those would wait for the frame's header, and the
/// payload's lines would be fetched after the header's instead of with it.
#[cold]
#[inline(never)]
fn nothing<'a>() -> &'a [u8] {
    &[]
}

/// How far the message in hand is.
#[derive(Clone, Copy, Debug)]
enum State {
    /// None is in hand.
    Between,
    /// Frames of a message were taken in.
    Within(Partial),
    /// A message is whole, and not delivered yet.
    Whole(Whole),
}

/// A message of which more is to come.
#[derive(Clone, Copy, Debug)]
struct Partial {
    /// The message that it becomes.
    whole: Whole,
    /// How many of its frames have come.
    taken: usize,
}

/// A message that can be delivered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole {
    /// What its first frame said.
    start: FrameMeta,
    first: Sequence,
    pub(super) frames: usize,
    pub(super) is_spilled: bool,
}

/// A consumer's place between and within messages.
#[derive(Debug)]
pub(super) struct Assembler {
    state: State,
    /// How many of the held frames belong to delivered messages.
    done: usize,
    /// Somebody else had the ring: what is held may be other frames, or fewer.
    was_lent: bool,
    /// The message that is lent while no other is in hand: the ring's next frame.
    pub(super) single: Single,
    /// A message that the ring cannot hold, as far as it has come.
    pub(super) spill: ReassemblyBuffer,
    pub(super) limit: usize,
    pub(super) received: Received,
}

impl Assembler {
    pub(super) fn new() -> Self {
        Self {
            state: State::Between,
            done: 0,
            was_lent: false,
            single: Single::default(),
            spill: ReassemblyBuffer::new(),
            limit: MAX_MESSAGE_BYTES,
            received: Received::default(),
        }
    }

    /// The next whole message, if there is one. Never waits.
    #[inline]
    pub(super) fn poll<F: FramedTransportFrame, B>(
        &mut self,
        ring: &mut Consumer<F, B>,
    ) -> Result<Option<Whole>, RecvError> {
        self.take_back(ring);
        let depth = ring.capacity();
        loop {
            if let State::Whole(whole) = self.state {
                return Ok(Some(whole));
            }
            // a frame borrows the ring, so what is to be released is only noted with it
            let taken = match ring.try_recv() {
                Ok(None) => return Ok(None),
                Ok(Some(frame)) => Ok(self.take_in(frame, depth)),
                Err(error) => Err(error),
            };
            match taken {
                Ok(released) => ring.release_held(released),
                Err(error) => self.end(ring, error)?,
            }
        }
    }

    /// The next whole message, waiting for it until the deadline.
    #[inline]
    pub(super) fn wait<F: FramedTransportFrame, B>(
        &mut self,
        ring: &mut Consumer<F, B>,
        deadline: Deadline,
    ) -> Result<Whole, RecvError> {
        self.take_back(ring);
        let depth = ring.capacity();
        loop {
            if let State::Whole(whole) = self.state {
                return Ok(whole);
            }
            let taken = match ring.recv(deadline) {
                Ok(frame) => Ok(self.take_in(frame, depth)),
                Err(error) => Err(error),
            };
            match taken {
                Ok(released) => ring.release_held(released),
                Err(error) => self.end(ring, error)?,
            }
        }
    }

    /// The ring is lent to somebody who may read from it, hold and release.
    pub(super) fn lend_ring(&mut self) {
        self.was_lent = true;
    }

    #[inline(always)]
    fn take_back<F: FramedTransportFrame, B>(&mut self, ring: &mut Consumer<F, B>) {
        if self.was_lent {
            self.start_over(ring);
        }
    }

    #[cold]
    fn start_over<F: FramedTransportFrame, B>(&mut self, ring: &mut Consumer<F, B>) {
        self.was_lent = false;
        self.put_back(ring);
    }

    /// What is held comes again, whoever held it; what was copied out of the ring already does not.
    pub(super) fn put_back<F: FramedTransportFrame, B>(&mut self, ring: &mut Consumer<F, B>) {
        ring.redeliver_held();
        self.state = match self.state {
            State::Within(partial) if partial.whole.is_spilled => State::Within(partial),
            State::Whole(whole) if whole.is_spilled => {
                let taken = whole.frames - 1;
                self.spill.truncate(taken * F::PAYLOAD_BYTES);
                State::Within(Partial { whole, taken })
            }
            _ => State::Between,
        };
    }

    /// The ring is at its end: a message without one never gets it. Asking once more takes the name along, as nothing is
    /// held any longer.
    #[cold]
    fn end<F: FramedTransportFrame, B>(
        &mut self,
        ring: &mut Consumer<F, B>,
        error: RecvError,
    ) -> Result<(), RecvError> {
        if error == RecvError::Closed && matches!(self.state, State::Within(_)) {
            self.received.truncated += 1;
            let released = self.let_go();
            ring.release_held(released);
            return Ok(());
        }
        Err(error)
    }

    /// Takes one frame in. Returns how many of the held frames are to be released, oldest first.
    fn take_in<F: FramedTransportFrame>(&mut self, frame: Lease<'_, F>, depth: usize) -> usize {
        let sequence = frame.sequence();
        // a copy: the check holds for what is used
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

    /// What a START frame begins, if it may.
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
            // no more than the ring holds is taken on trust
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

    /// The frame, with `rest` bytes of the message from it on, is the next one of the message in hand.
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

    /// The frame is released, with everything before it that is held.
    fn pass_over<F: FramedTransportFrame>(&mut self, frame: Lease<'_, F>) -> usize {
        self.state = State::Between;
        self.done = 0;
        frame.commit();
        0
    }

    /// Gives the message in hand up. Returns how many held frames go.
    fn let_go(&mut self) -> usize {
        let held = match self.state {
            State::Within(partial) if !partial.whole.is_spilled => partial.taken,
            _ => 0,
        };
        self.state = State::Between;
        core::mem::take(&mut self.done) + held
    }

    /// The whole message was delivered; its frames can be released.
    #[inline]
    pub(super) fn delivered(&mut self) {
        if let State::Whole(whole) = self.state {
            self.state = State::Between;
            self.received.messages += 1;
            if whole.frames > 1 {
                self.received.reassembled += 1;
            }
            self.done += match whole.is_spilled {
                true => 1,
                false => whole.frames,
            };
        }
    }

    /// A message of one frame was delivered, and the frame is held.
    #[inline(always)]
    pub(super) fn keep_frame(&mut self) {
        self.count();
        self.done += 1;
    }

    /// Whether the frame, the ring's next one, is a message by itself: then that can be lent, and the frame stays the next
    /// one. No message is in hand.
    #[inline(always)]
    pub(super) fn lend<F: FramedTransportFrame>(&mut self, frame: Lease<'_, F>) -> bool {
        let single = Single::of(&frame, self.limit);
        frame.release_uncommitted();
        if let Some(single) = single {
            self.single = single;
        }
        single.is_some()
    }

    /// A message of one frame is delivered.
    #[inline(always)]
    pub(super) fn count(&mut self) {
        self.received.messages += 1;
    }

    /// The message that is whole and not delivered yet.
    #[inline(always)]
    pub(super) fn whole(&self) -> Option<Whole> {
        match self.state {
            State::Whole(whole) => Some(whole),
            _ => None,
        }
    }

    /// Whether no message is in hand, and nobody else had the ring since.
    #[inline(always)]
    pub(super) fn is_between(&self) -> bool {
        matches!(self.state, State::Between) && !self.was_lent
    }

    /// How many held frames belong to delivered messages.
    #[inline]
    pub(super) fn done(&self) -> usize {
        self.done
    }

    /// Releases the frames of delivered messages.
    #[inline]
    pub(super) fn release<F: FramedTransportFrame, B>(&mut self, ring: &mut Consumer<F, B>) {
        ring.release_held(core::mem::take(&mut self.done));
    }

    /// The pieces of a whole message that is held in the ring, its time among them.
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

    /// Copies a whole message that is held in several frames into `buffer`. Others are where [`bytes`](Self::bytes) finds
    /// them.
    pub(super) fn put_together<F: FramedTransportFrame, B>(
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

    /// A whole message, which was [put together](Self::put_together) in `buffer` where that is needed.
    #[inline]
    pub(super) fn bytes<'a, F: FramedTransportFrame, B>(
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

    /// A whole message as a vector; it cannot be delivered once more.
    pub(super) fn take_vec<F: FramedTransportFrame, B>(
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

    /// After a whole message was read that was copied out of the ring piece by piece: `buffer` has it from now on.
    #[inline]
    pub(super) fn give_back(&mut self, whole: Whole, buffer: &mut ReassemblyBuffer) {
        if whole.is_spilled {
            self.spill.truncate(whole.len());
            core::mem::swap(buffer, &mut self.spill);
        }
    }

    /// What is known of a whole message.
    pub(super) fn meta<F: FramedTransportFrame, B>(
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

    /// The message's last 8 bytes, which can lie in up to 8 frames.
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
    pub(super) fn kind(&self) -> u8 {
        self.start.kind
    }

    /// The message's length in bytes.
    pub(super) fn len(&self) -> usize {
        self.start.message_len()
    }
}

/// Whether a START frame at `sequence` says so itself, and is long enough for its time.
#[inline(always)]
fn is_start_at(meta: FrameMeta, sequence: Sequence) -> bool {
    meta.msg_id == sequence as u32 && (!meta.is_timed() || meta.len as usize >= TIME_BYTES)
}
