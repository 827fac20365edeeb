//! Putting messages together from frames.
//!
//! Frames are held in the ring, unreleased, until their message is delivered, so that a consumer that dies
//! receives the message again. Only a message that the ring cannot hold is copied out of it frame by frame. If
//! the consumer dies within such a message and comes back, it receives the frames that follow, and drops them.
//! The last frame of such a message is held like any other. So a message that is not yet delivered always has a
//! frame in the ring, and a caller that waits for the ring learns of the message, whatever its length.
//!
//! A frame that does not belong where it is causes the current message to be dropped, and nothing else: the
//! frames after it are dropped up to the next START, and the message that begins there is delivered. So damage
//! affects at most one message.
//!
//! A peer can publish frames faster than this side drops them, so both kinds of call are bounded. A call that
//! does not wait takes in at most one ring's worth of frames, which covers everything that the ring held when
//! the call began. A call that waits checks its deadline and its cancel tokens at every 64th frame that it has
//! released undelivered; when one of them has ended the wait, it still delivers a message that the ring then
//! holds. Frames that are held for a message are not counted, so they cost no read of the clock.

use disruptor_mp::{Consumer, Deadline, Lease, RecvError, Sequence};

use super::buffer::ReassemblyBuffer;
use super::frame::{FrameMeta, FramedTransportFrame, TIME_BYTES, frame_flags, is_last_frame};
use super::producer::MAX_MESSAGE_BYTES;

/// A call that waits checks its deadline after it has released this many frames undelivered.
const UNDELIVERED_PER_CHECK: usize = 64;

/// How many messages were received, and how many messages and frames were dropped.
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
/// tx.ring().publish(|_frame| {}); // a frame that belongs to no message
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
    /// Delivered messages that took more than one frame.
    pub reassembled: u64,
    /// Messages that were never completed: their producer died or gave up in the middle.
    pub truncated: u64,
    /// Frames that are damaged, or do not belong where they are. The message that they interrupted was dropped
    /// as well.
    pub malformed: u64,
    /// Messages longer than this consumer's limit.
    pub too_long: u64,
    /// Frames of messages that began before this consumer did, or that were dropped.
    pub orphans: u64,
}

impl Received {
    /// How many messages were dropped, as far as this can be determined.
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

/// Everything that is known about a whole message besides its bytes.
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
    /// The kind of the message; the program chooses its meaning.
    pub kind: u8,
    /// The message's length in bytes.
    pub len: usize,
    /// How many frames the message took.
    pub frames: usize,
    /// The sequence of the first of these frames.
    pub first_sequence: Sequence,
    /// When the message was sent, in nanoseconds of the machine's monotonic clock (`CLOCK_MONOTONIC`). `None`
    /// unless the producer [stamps its messages](super::FramedTransportProducer::stamp_send_times).
    pub sent_at_ns: Option<u64>,
}

/// A message of one frame without a time: the contents of its header, and its sequence. All fields are whole
/// words, so that moving the struct through memory does not wait for earlier stores.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Single {
    len: usize,
    kind: usize,
    sequence: Sequence,
}

impl Single {
    /// The message that this frame is, if it is a whole message of up to `limit` bytes. Every condition for
    /// that is checked.
    #[inline(always)]
    pub(super) fn of<F: FramedTransportFrame>(frame: &Lease<'_, F>, limit: usize) -> Option<Self> {
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

    /// Everything that is known about the message.
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

/// An empty message, for a case that cannot occur. It is a cold branch, because a choice between two addresses
/// would make the payload's address depend on the frame's header: the processor would then fetch the payload's
/// lines after the header's line, not together with it.
#[cold]
#[inline(never)]
fn nothing<'a>() -> &'a [u8] {
    &[]
}

/// The state of the current message.
#[derive(Clone, Copy, Debug)]
enum State {
    /// No message has begun.
    Between,
    /// Some frames of a message have been taken in.
    Within(Partial),
    /// A message is whole and not yet delivered.
    Whole(Whole),
}

/// A message of which more frames are expected.
#[derive(Clone, Copy, Debug)]
struct Partial {
    /// The message that it will be.
    whole: Whole,
    /// How many of its frames have come.
    taken: usize,
}

/// A message that can be delivered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole {
    /// The header of its first frame.
    start: FrameMeta,
    first: Sequence,
    pub(super) frames: usize,
    pub(super) is_spilled: bool,
}

/// A consumer's state between and within messages.
#[derive(Debug)]
pub(super) struct Assembler {
    state: State,
    /// How many of the held frames belong to delivered messages.
    done: usize,
    /// How many frames were released without their message being delivered since the deadline was last checked.
    undelivered: usize,
    /// The caller had access to the ring, so other frames, or fewer, may be held now.
    was_lent: bool,
    /// The message to be lent while the state is `Between`: the ring's next frame.
    pub(super) single: Single,
    /// The part that has come of a message that the ring cannot hold.
    pub(super) spill: ReassemblyBuffer,
    pub(super) limit: usize,
    pub(super) received: Received,
}

impl Assembler {
    pub(super) fn new() -> Self {
        Self {
            state: State::Between,
            done: 0,
            undelivered: 0,
            was_lent: false,
            single: Single::default(),
            spill: ReassemblyBuffer::new(),
            limit: MAX_MESSAGE_BYTES,
            received: Received::default(),
        }
    }

    /// The next whole message, if there is one in the next `left` frames; `left` is counted down. Never waits.
    /// If `left` is one ring's worth of frames, the call finds a message that the ring held when the call
    /// began.
    #[inline]
    pub(super) fn poll<F: FramedTransportFrame, B>(
        &mut self,
        ring: &mut Consumer<F, B>,
        left: &mut usize,
    ) -> Result<Option<Whole>, RecvError> {
        self.take_back(ring);
        let depth = ring.capacity();
        loop {
            if let State::Whole(whole) = self.state {
                return Ok(Some(whole));
            }
            // a frame borrows the ring, so `take_in` only returns how many frames are to be released
            let taken = match ring.try_recv() {
                Ok(None) => return Ok(None),
                Ok(Some(frame)) if *left == 0 => {
                    frame.release_uncommitted();
                    return Ok(None);
                }
                Ok(Some(frame)) => {
                    *left -= 1;
                    Ok(self.take_in(frame, depth))
                }
                Err(error) => Err(error),
            };
            match taken {
                Ok(released) => ring.release_held(released),
                Err(error) => self.end(ring, error)?,
            }
        }
    }

    /// The next whole message; waits for it until the deadline.
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
            if self.undelivered >= UNDELIVERED_PER_CHECK
                && let Some(over) = self.check(ring, deadline)
            {
                let mut left = depth;
                return self.poll(ring, &mut left)?.ok_or(over);
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

    /// The error that ends a wait, if one does. Called after frames were released and no message was delivered.
    #[cold]
    fn check<F: FramedTransportFrame, B>(
        &mut self,
        ring: &Consumer<F, B>,
        deadline: Deadline,
    ) -> Option<RecvError> {
        self.undelivered = 0;
        if ring.is_cancelled() {
            Some(RecvError::Cancelled)
        } else {
            deadline.has_passed().then_some(RecvError::Timeout)
        }
    }

    /// Notes that a caller gets the ring, and may read events from it, hold and release them.
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

    /// Returns all held frames to be delivered again, whether this assembler or a caller held them. Bytes that
    /// were copied out of the ring stay.
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

    /// Handles the end of the ring: an incomplete message will not be completed any more, so it is dropped. The
    /// caller then polls again. As no frame is held any longer, that call can remove the ring's name.
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

    /// Takes in one frame. Returns how many of the held frames are to be released, oldest first.
    fn take_in<F: FramedTransportFrame>(&mut self, frame: Lease<'_, F>, depth: usize) -> usize {
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
    fn let_go(&mut self) -> usize {
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

    /// Notes that the whole message was delivered; its frames can be released.
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

    /// Notes that a message of one frame was delivered, and that its frame is held.
    #[inline(always)]
    pub(super) fn keep_frame(&mut self) {
        self.count();
        self.done += 1;
    }

    /// Whether this frame, the ring's next one, is a whole message. If so, that message can be lent. In either
    /// case the frame stays the ring's next one. The state must be `Between`.
    #[inline(always)]
    pub(super) fn lend<F: FramedTransportFrame>(&mut self, frame: Lease<'_, F>) -> bool {
        let single = Single::of(&frame, self.limit);
        frame.release_uncommitted();
        if let Some(single) = single {
            self.single = single;
        }
        single.is_some()
    }

    /// Counts a message of one frame that was delivered.
    #[inline(always)]
    pub(super) fn count(&mut self) {
        self.received.messages += 1;
    }

    /// The message that is whole and not yet delivered.
    #[inline(always)]
    pub(super) fn whole(&self) -> Option<Whole> {
        match self.state {
            State::Whole(whole) => Some(whole),
            _ => None,
        }
    }

    /// Whether no message has begun, and no caller has had the ring since.
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

    /// The bytes of a whole message. A message of several held frames must have been [put
    /// together](Self::put_together) in `buffer`.
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

    /// Takes a whole message out as a vector; it cannot be delivered again.
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

    /// Called after the caller has read a message that was copied out of the ring piece by piece: moves that
    /// message to `buffer`.
    #[inline]
    pub(super) fn give_back(&mut self, whole: Whole, buffer: &mut ReassemblyBuffer) {
        if whole.is_spilled {
            self.spill.truncate(whole.len());
            core::mem::swap(buffer, &mut self.spill);
        }
    }

    /// Everything that is known about a whole message.
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
    pub(super) fn kind(&self) -> u8 {
        self.start.kind
    }

    /// The message's length in bytes.
    pub(super) fn len(&self) -> usize {
        self.start.message_len()
    }
}

/// Whether this START frame is at the `sequence` that its header names, and is long enough for its time.
#[inline(always)]
fn is_start_at(meta: FrameMeta, sequence: Sequence) -> bool {
    meta.msg_id == sequence as u32 && (!meta.is_timed() || meta.len as usize >= TIME_BYTES)
}
