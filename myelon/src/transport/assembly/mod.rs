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
//!
//! [`single`] recognises a message of one frame in the ring. [`multi`] takes in the frames of every other message.

mod multi;
mod single;

use disruptor_mp::{Consumer, Deadline, RecvError, Sequence};

use multi::{Partial, Whole};
pub(super) use single::Single;

use super::buffer::ReassemblyBuffer;
use super::frame::{FrameMeta, FramedTransportFrame, TIME_BYTES};
use super::outgoing::MAX_MESSAGE_BYTES;

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
/// tx.ring().send(Deadline::NEVER, |_frame| {})?; // a frame that belongs to no message
/// tx.send(b"hello", 1, Deadline::NEVER)?;
/// assert_eq!(&*rx.recv(Deadline::NEVER)?, b"hello");
/// assert_eq!((rx.received().messages, rx.received().malformed, rx.received().dropped()), (1, 1, 1));
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
/// tx.stamp_send_times(true).send(b"hello", 7, Deadline::NEVER)?;
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
}

/// Whether this START frame is at the `sequence` that its header names, and is long enough for its time.
#[inline(always)]
fn is_start_at(meta: FrameMeta, sequence: Sequence) -> bool {
    meta.msg_id == sequence as u32 && (!meta.is_timed() || meta.len as usize >= TIME_BYTES)
}
