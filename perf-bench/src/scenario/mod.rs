//! The cells of a run, each with one end in both processes.
//!
//! The driver opens its end first, so that its ring exists. Then it tells the peer to open, and finally it
//! finishes opening: a ring from the peer to the driver exists only by then.

pub(crate) mod access;
mod beside;
pub(crate) mod ends;
pub(crate) mod events;
pub(crate) mod fresh_copy;
pub(crate) mod message_ping_pong;
pub(crate) mod message_stream;
pub(crate) mod ping_pong;
pub(crate) mod stream;
pub(crate) mod wait;

use std::error::Error;
use std::ops::Range;
use std::sync::atomic::Ordering;

use myelon::codec::{AnyTable, Bincode, FlatBuffer, Postcard, Rkyv};
use myelon::transport::AlignedFixedFrame;
use myelon::{MappedFile, SharedMemory};

use self::access::{Access, Flat};
use self::ends::{Receiver, Sender};
use self::events::Events;
use self::fresh_copy::FreshCopy;
use self::message_ping_pong::{ByHand, CodecAlone, Framed, Messages, Typed, Value};
use self::message_stream::{Archives, Encoded, Long, Over, Short, Traffic, Values};

use crate::arena::{Arena, Role};
use crate::backend::{Backend, Open};
use crate::clock::Clock;
use crate::compare;
use crate::fault::Round;
use crate::floor;
use crate::floor::operation::{self, Operation};
use crate::payload::{OfWords, PackedWords, Words, for_bare_size, for_size};
use crate::spec::{Format, Layer, Spec, Work};
use crate::watch::stop;

/// Events published together in the batch scenarios.
pub(crate) const BATCH: u64 = 16;

/// A stream's round is timed in so many blocks, so that one disturbed block does not spoil the round.
pub(crate) const BLOCKS: u64 = 64;

/// The reason for stopping a round over rings of frames: the other process has died, or there is a serious error.
const RING_ENDED: &str = "a ring of frames has ended";

/// An error with a readable text.
pub(crate) type Failure = Box<dyn Error>;

/// The result of a round at one end.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The driver's times: of each round trip, or of each of the [`BLOCKS`] of a stream.
    pub(crate) ticks: Vec<u64>,
    /// The hash of the messages that this end received.
    pub(crate) hash: u64,
    /// The value that `hash` must have.
    pub(crate) expected: u64,
    /// At a fixed rate, the latencies that this end measured, in ns.
    pub(crate) took_ns: Vec<u64>,
}

impl Outcome {
    /// Whether this end received exactly the messages that were sent.
    pub(crate) fn is_right(&self) -> bool {
        self.hash == self.expected
    }
}

/// One process's end of a cell.
pub(crate) trait Endpoint {
    /// Opens the objects that the other side had to create first.
    fn finish_opening(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    /// Sends or receives the messages of a round; the other process runs the same round.
    fn run(&mut self, arena: &mut Arena, clock: &Clock, round: Round) -> Outcome;

    /// Removes the objects that this end has created, by their exact names.
    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }
}

/// Runs `$body` with the type `$frame` of frames of one of the sizes of [`FRAMES`].
macro_rules! for_frame {
    ($bytes:expr, $frame:ident => $body:expr) => {
        for_frame!(@ $bytes, $frame, $body, 64 256 4_096 65_536)
    };
    (@ $bytes:expr, $frame:ident, $body:expr, $($n:literal)*) => {
        match $bytes {
            $($n => {
                type $frame = AlignedFixedFrame<$n>;
                $body
            })*
            _ => Err("no frame is made for that size".into()),
        }
    };
}

/// The same, also of one of the sizes of [`LARGE_FRAMES`].
macro_rules! for_large_frame {
    ($bytes:expr, $frame:ident => $body:expr) => {
        for_frame!(@ $bytes, $frame, $body, 64 256 4_096 65_536 0x10_0000 0x400_0000)
    };
}

/// Runs `$body` with the type `$messages` of the messages of a chosen layer; `$chosen` is the layer and the payload of
/// its frames.
macro_rules! for_messages {
    ($spec:expr, $chosen:expr, $messages:ident => $body:expr) => {{
        let (layer, bytes) = $chosen;
        match layer {
            Layer::Raw => for_size!($spec.size_bytes, W => {
                type $messages = Events<W>;
                $body
            }),
            Layer::Framed => for_large_frame!(bytes, F => {
                type $messages = Over<Long, F>;
                $body
            }),
            Layer::Bincode => for_frame!(bytes, F => {
                type $messages = Over<Encoded<Bincode<Flat>>, F>;
                $body
            }),
            Layer::Postcard => for_frame!(bytes, F => {
                type $messages = Over<Encoded<Postcard<Flat>>, F>;
                $body
            }),
            Layer::Rkyv => for_frame!(bytes, F => {
                type $messages = Over<Encoded<Rkyv<Flat>>, F>;
                $body
            }),
            Layer::FlatBuffers => for_frame!(bytes, F => {
                type $messages = Over<Encoded<FlatBuffer<AnyTable<'static>>>, F>;
                $body
            }),
            Layer::InPlace => for_large_frame!(bytes, F => {
                type $messages = Over<Archives, F>;
                $body
            }),
        }
    }};
}

/// Opens this process's end of a cell.
pub(crate) fn open(spec: &Spec, role: Role) -> Result<Box<dyn Endpoint>, Failure> {
    match spec.work {
        Work::OneLineBounce => Ok(Box::new(Bounce { two_lines: false })),
        Work::TwoLineBounce => Ok(Box::new(Bounce { two_lines: true })),
        Work::BareStream { packed: false, .. } | Work::BareStreamCalled => {
            Ok(Box::new(Bare::<false>::new(spec)))
        }
        Work::BareStream { packed: true, .. } => Ok(Box::new(Bare::<true>::new(spec))),
        Work::BarePingPong => Ok(Box::new(BarePingPong {
            spec: spec.clone(),
            next: 0,
        })),
        Work::BareCursor => Ok(Box::new(BareCursor {
            spec: spec.clone(),
            next: 0,
        })),
        Work::HotCopy => Ok(Box::new(HotCopy(spec.size_bytes))),
        Work::Operation(operation) => Ok(Box::new(Repeated(operation))),
        Work::FreshCopy => Ok(Box::new(FreshCopy::new(spec))),
        Work::CodecAlone(Format::Bincode) => Ok(Box::new(CodecAlone::<Bincode<Value>>::new())),
        Work::CodecAlone(Format::Postcard) => Ok(Box::new(CodecAlone::<Postcard<Value>>::new())),
        Work::CodecAlone(Format::Rkyv) => Ok(Box::new(CodecAlone::<Rkyv<Value>>::new())),
        Work::CodecAlone(Format::FlatBuffers) => {
            Ok(Box::new(CodecAlone::<FlatBuffer<AnyTable<'_>>>::new()))
        }
        Work::Access { .. } => Ok(Box::new(Access::open(spec)?)),
        Work::Compared { .. } => compare::open(spec, role),
        _ => match spec.backend {
            Backend::Shm => open_ring::<SharedMemory>(spec, role),
            Backend::Mmap | Backend::Disk => open_ring::<MappedFile>(spec, role),
            Backend::None => Err("a ring needs a backend".into()),
        },
    }
}

/// Creates a ring of a chosen layer.
pub(crate) fn open_sender(spec: &Spec) -> Result<Box<dyn Sender>, Failure> {
    match spec.backend {
        Backend::Shm => open_sender_on::<SharedMemory>(spec),
        _ => open_sender_on::<MappedFile>(spec),
    }
}

fn open_sender_on<B: Open>(spec: &Spec) -> Result<Box<dyn Sender>, Failure> {
    for_messages!(spec, chosen(spec)?, M => ends::sender::<M, B>(spec))
}

/// Attaches to such a ring.
pub(crate) fn open_receiver(spec: &Spec) -> Result<Box<dyn Receiver>, Failure> {
    match spec.backend {
        Backend::Shm => open_receiver_on::<SharedMemory>(spec),
        _ => open_receiver_on::<MappedFile>(spec),
    }
}

fn open_receiver_on<B: Open>(spec: &Spec) -> Result<Box<dyn Receiver>, Failure> {
    for_messages!(spec, chosen(spec)?, M => ends::receiver::<M, B>(spec))
}

/// The layer of a ring, and the payload of its frames.
fn chosen(spec: &Spec) -> Result<(Layer, usize), Failure> {
    match spec.work {
        Work::ChosenStream {
            layer, frame_bytes, ..
        } => Ok((layer, frame_bytes)),
        _ => Err("a ring for messages one way was expected".into()),
    }
}

fn open_ring<B: Open>(spec: &Spec, role: Role) -> Result<Box<dyn Endpoint>, Failure> {
    match spec.work {
        Work::FramedPingPong => open_messages::<Framed, B>(spec, role),
        Work::TypedPingPong => open_messages::<Typed, B>(spec, role),
        Work::CodecByHand => open_messages::<ByHand, B>(spec, role),
        Work::FramedStream { frame_bytes } => open_frames::<Short, B>(spec, frame_bytes, role),
        Work::ReservedStream { frame_bytes } => {
            open_frames::<Short<true>, B>(spec, frame_bytes, role)
        }
        Work::FramedCopy { frame_bytes } => open_large_frames::<Long, B>(spec, frame_bytes, role),
        Work::TypedStream { frame_bytes } => open_frames::<Values, B>(spec, frame_bytes, role),
        Work::InPlace { frame_bytes } => open_large_frames::<Archives, B>(spec, frame_bytes, role),
        Work::ChosenPingPong { layer, frame_bytes }
        | Work::ChosenStream {
            layer, frame_bytes, ..
        }
        | Work::ChosenBroadcast {
            layer, frame_bytes, ..
        } => for_messages!(spec, (layer, frame_bytes), M => open_messages::<M, B>(spec, role)),
        _ => for_size!(spec.size_bytes, W => open_events::<W, B>(spec, role)),
    }
}

fn open_messages<M: Messages<B>, B: Open>(
    spec: &Spec,
    role: Role,
) -> Result<Box<dyn Endpoint>, Failure> {
    Ok(match (spec.is_round_trip(), role) {
        (true, Role::Driver) => Box::new(message_ping_pong::Asking::<M, B>::open(spec)?),
        (true, Role::Peer) => Box::new(message_ping_pong::Answering::<M, B>::open(spec)?),
        (false, Role::Driver) => Box::new(message_stream::Sending::<M, B>::open(spec)?),
        (false, Role::Peer) => Box::new(message_stream::Receiving::<M, B>::open(spec)?),
    })
}

/// Opens a ring of frames of one of the sizes of [`FRAMES`].
fn open_frames<T: Traffic, B: Open>(
    spec: &Spec,
    frame_bytes: usize,
    role: Role,
) -> Result<Box<dyn Endpoint>, Failure> {
    for_frame!(frame_bytes, F => open_messages::<Over<T, F>, B>(spec, role))
}

/// The same, also of one of the sizes of [`LARGE_FRAMES`].
fn open_large_frames<T: Traffic, B: Open>(
    spec: &Spec,
    frame_bytes: usize,
    role: Role,
) -> Result<Box<dyn Endpoint>, Failure> {
    for_large_frame!(frame_bytes, F => open_messages::<Over<T, F>, B>(spec, role))
}

/// The payload sizes of frames for messages of every kind, in bytes.
pub(crate) const FRAMES: [usize; 4] = [64, 256, 4_096, 65_536];

/// Those for messages that are not to be split however long they are.
pub(crate) const LARGE_FRAMES: [usize; 2] = [0x10_0000, 0x400_0000];

fn open_events<const W: usize, B: Open>(
    spec: &Spec,
    role: Role,
) -> Result<Box<dyn Endpoint>, Failure> {
    Ok(match (spec.work, role) {
        (Work::PingPong { .. }, Role::Driver) => Box::new(ping_pong::Asking::<W, B>::open(spec)?),
        (Work::PingPong { .. }, Role::Peer) => Box::new(ping_pong::Answering::<W, B>::open(spec)?),
        (Work::Stream { packed: true, .. }, _) => open_stream::<W, PackedWords<W>, B>(spec, role)?,
        _ => open_stream::<W, Words<W>, B>(spec, role)?,
    })
}

fn open_stream<const W: usize, E: OfWords<W>, B: Open>(
    spec: &Spec,
    role: Role,
) -> Result<Box<dyn Endpoint>, Failure> {
    Ok(match role {
        Role::Driver => Box::new(stream::Sending::<W, E, B>::open(spec)?),
        Role::Peer => Box::new(stream::Receiving::<W, E, B>::open(spec)?),
    })
}

/// Sends `count` messages, block by block; the blocks are of one size if `count` is a multiple of [`BLOCKS`], or less
/// than that. The ring is much smaller than a block, so
/// the time to publish a block is also the time that the reader takes.
#[inline(always)]
pub(crate) fn in_blocks(clock: &Clock, count: u64, mut send: impl FnMut(Range<u64>)) -> Outcome {
    let blocks = BLOCKS.min(count);
    let mut ticks = Vec::with_capacity(blocks as usize);
    let mut before = clock.ticks();
    for block in 0..blocks {
        send(block * count / blocks..(block + 1) * count / blocks);
        let now = clock.ticks();
        ticks.push(now.wrapping_sub(before));
        before = now;
    }
    Outcome {
        ticks,
        ..Outcome::default()
    }
}

struct Bounce {
    two_lines: bool,
}

impl Endpoint for Bounce {
    fn run(&mut self, arena: &mut Arena, clock: &Clock, round: Round) -> Outcome {
        arena.meet();
        floor::bounce::run(arena, clock, self.two_lines, round.count)
    }
}

struct Bare<const PACKED: bool> {
    spec: Spec,
    next: u64,
}

impl<const PACKED: bool> Bare<PACKED> {
    fn new(spec: &Spec) -> Self {
        Self {
            spec: spec.clone(),
            next: 0,
        }
    }
}

impl<const PACKED: bool> Endpoint for Bare<PACKED> {
    fn run(&mut self, arena: &mut Arena, clock: &Clock, round: Round) -> Outcome {
        if arena.role() == Role::Driver {
            arena
                .progress()
                .store(self.next as i64 - 1, std::sync::atomic::Ordering::SeqCst);
        }
        arena.meet();
        let (_, stride) = floor::stream::shape(self.spec.size_bytes, PACKED);
        let base = arena.slots(self.spec.arena_offset, stride * self.spec.capacity);
        let slots = floor::stream::Slots::<PACKED>::new(base, self.spec.capacity, arena.progress());
        let first = self.next;
        let count = round.count;
        self.next += count;
        for_bare_size!(self.spec.size_bytes, W => match arena.role() {
            Role::Driver => {
                let key = crate::payload::key(round.number, 0).wrapping_sub(first);
                let mut limit = first + self.spec.capacity as u64;
                let range = |block: Range<u64>| first + block.start..first + block.end;
                // a loop each, because the compiler keeps the variables of a small loop in registers
                let outcome = match self.spec.work {
                    Work::BareStreamCalled => in_blocks(clock, count, |block| {
                        for (part, skew) in round.skewed(block) {
                            let key = key.wrapping_add(skew);
                            limit = slots.produce_by_calls::<W>(range(part), key, limit);
                        }
                    }),
                    Work::BareStream { batch: 1, .. } => in_blocks(clock, count, |block| {
                        for (part, skew) in round.skewed(block) {
                            let key = key.wrapping_add(skew);
                            limit = slots.produce::<W>(range(part), key, limit);
                        }
                    }),
                    _ => in_blocks(clock, count, |block| {
                        for (part, skew) in round.skewed(block) {
                            let key = key.wrapping_add(skew);
                            limit = slots.produce_batches::<W, BATCH>(range(part), key, limit);
                        }
                    }),
                };
                stream::wait_for_progress(arena, first + count - 1);
                outcome
            }
            Role::Peer => {
                let hash = slots.consume_into::<W>(0, first..first + count);
                let expected = crate::payload::expected::<W>(round.number, count, 0);
                Outcome { hash, expected, ..Outcome::default() }
            }
        })
    }
}

struct BareCursor {
    spec: Spec,
    next: u64,
}

impl Endpoint for BareCursor {
    fn run(&mut self, arena: &mut Arena, clock: &Clock, round: Round) -> Outcome {
        let first = self.next;
        self.next += round.count;
        if arena.role() == Role::Driver {
            let last = first as i64 - 1;
            arena.progress().store(last, Ordering::SeqCst);
            arena.cursor().store(last, Ordering::SeqCst);
        }
        arena.meet();
        let capacity = self.spec.capacity;
        let bytes = floor::cursor::stride(self.spec.size_bytes) * capacity;
        let base = arena.slots(self.spec.arena_offset, bytes);
        let slots = floor::cursor::Slots::new(base, capacity, arena.cursor(), arena.progress());
        for_size!(self.spec.size_bytes, W => match arena.role() {
            Role::Driver => {
                let key = crate::payload::key(round.number, 0).wrapping_sub(first);
                let mut limit = first + capacity as u64;
                let outcome = in_blocks(clock, round.count, |block| {
                    for (part, skew) in round.skewed(block) {
                        let range = first + part.start..first + part.end;
                        limit = slots.produce::<W>(range, key.wrapping_add(skew), limit);
                    }
                });
                stream::wait_for_progress(arena, self.next - 1);
                outcome
            }
            Role::Peer => {
                let hash = slots.consume::<W>(first..self.next);
                let expected = crate::payload::expected::<W>(round.number, round.count, 0);
                Outcome { hash, expected, ..Outcome::default() }
            }
        })
    }
}

/// Copying so many bytes, which only the driver does.
struct HotCopy(usize);

impl Endpoint for HotCopy {
    fn run(&mut self, arena: &mut Arena, clock: &Clock, round: Round) -> Outcome {
        arena.meet();
        match arena.role() {
            Role::Driver => floor::copy::copy_hot(clock, self.0, round.count),
            Role::Peer => Outcome::default(),
        }
    }
}

struct Repeated(Operation);

impl Endpoint for Repeated {
    fn run(&mut self, arena: &mut Arena, clock: &Clock, round: Round) -> Outcome {
        arena.meet();
        operation::run(self.0, arena, clock, round.count).unwrap_or_else(|error| {
            eprintln!("{}: {error}", self.0.name());
            stop("an operation of the kernel failed")
        })
    }
}

struct BarePingPong {
    spec: Spec,
    next: u64,
}

impl Endpoint for BarePingPong {
    fn run(&mut self, arena: &mut Arena, clock: &Clock, round: Round) -> Outcome {
        let first = self.next;
        self.next += round.count;
        for_size!(self.spec.size_bytes, W => if round.has_faulty_messages() {
            floor::ping_pong::run::<true, W>(arena, clock, &self.spec, first, round)
        } else {
            floor::ping_pong::run::<false, W>(arena, clock, &self.spec, first, round)
        })
    }
}
