//! The specification of one cell: all that both processes need to open it.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::compare::{self, Flow};
use crate::floor::operation::Operation;
use crate::scenario::{BATCH, BLOCKS};
use crate::strategy::Strategy;

/// The work of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Both processes write the same line in turn.
    OneLineBounce,
    /// Each process writes a line that the other polls.
    TwoLineBounce,
    /// The bare stamped stream, `batch` events at a time.
    BareStream { batch: usize, packed: bool },
    /// The same, each event in a function that is never inlined.
    BareStreamCalled,
    /// The bare cursor stream.
    BareCursor,
    /// A message and its reply on two bare streams.
    BarePingPong,
    /// Copying memory of one core's own.
    HotCopy,
    /// A single operation in a loop.
    Operation(Operation),
    /// Blocks that one core has written and the other one copies.
    FreshCopy,
    /// Reading one field of an archive of one byte vector, or of many small values.
    Access { nested: bool },
    /// The codec's share of a round trip, by itself.
    CodecAlone(Format),
    /// A message and its reply on two rings; with `writable`, consumers map the slots writable.
    PingPong { writable: bool },
    /// One way at full speed, `batch` events per publish.
    Stream { batch: usize, packed: bool },
    /// The same with one event per `send`, in a function that is never inlined.
    StreamCalled,
    /// A message and its reply on two rings of frames of 64 bytes.
    FramedPingPong,
    /// The same with values.
    TypedPingPong,
    /// The same with values that the ends encode and decode themselves.
    CodecByHand,
    /// Messages of one frame, one way, read in place.
    FramedStream { frame_bytes: usize },
    /// The same messages, each written into a frame that was reserved for it.
    ReservedStream { frame_bytes: usize },
    /// Long messages, one way, copied out.
    FramedCopy { frame_bytes: usize },
    /// Values of one frame, one way.
    TypedStream { frame_bytes: usize },
    /// Archives of one frame, one way, one field of each read in place.
    InPlace { frame_bytes: usize },
    /// A message and its reply, on any layer.
    ChosenPingPong { layer: Layer, frame_bytes: usize },
    /// One way, on any layer, `batch` events per publish.
    ChosenStream {
        layer: Layer,
        frame_bytes: usize,
        batch: usize,
    },
    /// One way to so many receivers, each a process, on any layer.
    ChosenBroadcast {
        layer: Layer,
        frame_bytes: usize,
        receivers: usize,
    },
    /// A peer of `compare`, by its number.
    Compared { peer: usize, flow: Flow },
}

/// A layer that can be chosen by name: what a message is, and how it gets into a ring and out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub(crate) enum Layer {
    /// An event of fixed size in a slot of its own: 8, 24, 56, 64, 248 or 1024 bytes.
    #[value(name = "raw")]
    Raw,
    /// Bytes in frames, copied out by the receiver.
    #[value(name = "framed")]
    Framed,
    /// A value with a byte vector, encoded and decoded by bincode.
    #[value(name = "bincode")]
    Bincode,
    /// The same by postcard.
    #[value(name = "postcard")]
    Postcard,
    /// The same by rkyv.
    #[value(name = "rkyv")]
    Rkyv,
    /// A table with a byte vector, verified and then copied out.
    #[value(name = "flatbuffers")]
    FlatBuffers,
    /// An rkyv archive in one frame, of which one field is read in place.
    #[value(name = "in_place", alias = "in-place")]
    InPlace,
}

impl Layer {
    /// Its name in reports.
    fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Framed => "framed",
            Self::Bincode => "bincode",
            Self::Postcard => "postcard",
            Self::Rkyv => "rkyv",
            Self::FlatBuffers => "flatbuffers",
            Self::InPlace => "in_place",
        }
    }
}

/// The format in which a codec encodes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Format {
    Bincode,
    Postcard,
    Rkyv,
    /// A table with one field: the words.
    FlatBuffers,
}

/// What the ends of a cell have besides their rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Beside {
    Nothing,
    /// Both ends of each ring show their counters in a file.
    Counters,
    /// Each ring's producer requires its consumer, and sends by managed calls.
    Required,
}

/// A cell: its work, its ring or arena region, and its size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) work: Work,
    pub(crate) backend: Backend,
    pub(crate) size_bytes: usize,
    pub(crate) capacity: usize,
    /// The name of the ring from driver to peer. The name of the reply ring is [`Spec::reply_name`].
    pub(crate) name: String,
    /// The directory of a file-backed ring.
    pub(crate) root: String,
    /// How both ends wait.
    pub(crate) strategy: Strategy,
    /// The fixed number of messages per second; otherwise each message follows at once.
    pub(crate) per_s: Option<u64>,
    /// What the ends of a chosen cell have besides their rings.
    pub(crate) beside: Beside,
    /// The offset in the arena of a bare loop's slots.
    pub(crate) arena_offset: usize,
}

impl Spec {
    /// The scenario's name in reports.
    pub(crate) fn scenario(&self) -> &'static str {
        match self.work {
            Work::OneLineBounce => "one_line_bounce",
            Work::TwoLineBounce => "two_line_bounce",
            Work::BarePingPong => "bare_ping_pong",
            Work::BareCursor => "bare_cursor",
            Work::HotCopy => "hot_copy",
            Work::Operation(operation) => operation.name(),
            Work::FreshCopy => "fresh_copy",
            Work::CodecAlone(Format::Bincode) => "codec_alone",
            Work::CodecAlone(Format::Postcard) => "codec_alone_postcard",
            Work::CodecAlone(Format::Rkyv) => "codec_alone_rkyv",
            Work::CodecAlone(Format::FlatBuffers) => "codec_alone_flatbuffers",
            Work::Access { nested: false } => "rkyv_access",
            Work::Access { nested: true } => "rkyv_access_nested",
            Work::FramedPingPong => "framed_ping_pong",
            Work::TypedPingPong => "typed_ping_pong",
            Work::CodecByHand => "codec_by_hand",
            Work::FramedStream { .. } => "framed_stream",
            Work::ReservedStream { .. } => "reserved_stream",
            Work::FramedCopy { .. } => "framed_copy",
            Work::TypedStream { .. } => "typed_stream",
            Work::InPlace { .. } => "in_place",
            Work::ChosenPingPong { .. } => match self.beside {
                Beside::Nothing => "pingpong",
                Beside::Counters => "pingpong_counters",
                Beside::Required => "pingpong_required",
            },
            Work::ChosenStream { .. } => match self.beside {
                Beside::Nothing => "stream",
                Beside::Counters => "stream_counters",
                Beside::Required => "stream_required",
            },
            Work::ChosenBroadcast { .. } => "broadcast",
            Work::BareStream { batch, packed } => match (batch, packed) {
                (1, false) => "bare_stream",
                (1, true) => "bare_stream_packed",
                (_, false) => "bare_stream_batch16",
                (_, true) => "bare_stream_packed_batch16",
            },
            Work::PingPong { writable: true } => "ping_pong",
            Work::PingPong { writable: false } => "ping_pong_read_only",
            Work::Stream { batch, packed } => match (batch, packed) {
                (1, false) => "stream",
                (1, true) => "stream_packed",
                (_, false) => "stream_batch16",
                (_, true) => "stream_packed_batch16",
            },
            Work::StreamCalled => "stream_called",
            Work::BareStreamCalled => "bare_stream_called",
            Work::Compared { flow, .. } => match flow {
                Flow::PingPong => "pingpong",
                Flow::Stream => "stream",
                Flow::Broadcast { .. } => "broadcast",
            },
        }
    }

    /// The layer's name in reports.
    pub(crate) fn layer(&self) -> &'static str {
        match self.work {
            Work::PingPong { .. } | Work::Stream { .. } | Work::StreamCalled => "raw",
            Work::FramedPingPong
            | Work::CodecByHand
            | Work::FramedStream { .. }
            | Work::ReservedStream { .. }
            | Work::FramedCopy { .. } => "framed",
            Work::TypedPingPong | Work::TypedStream { .. } | Work::InPlace { .. } => "typed",
            Work::CodecAlone(_) | Work::Access { .. } => "codec",
            Work::ChosenPingPong { layer, .. }
            | Work::ChosenStream { layer, .. }
            | Work::ChosenBroadcast { layer, .. } => layer.name(),
            _ => "floor",
        }
    }

    /// Whether a round's figure is a time, of a round trip or of a message at a fixed rate; otherwise it is a rate.
    pub(crate) fn is_latency(&self) -> bool {
        self.per_s.is_some() || self.is_round_trip()
    }

    /// Whether each message is answered by the peer.
    pub(crate) fn is_round_trip(&self) -> bool {
        matches!(
            self.work,
            Work::OneLineBounce
                | Work::TwoLineBounce
                | Work::BarePingPong
                | Work::PingPong { .. }
                | Work::FramedPingPong
                | Work::TypedPingPong
                | Work::CodecByHand
                | Work::ChosenPingPong { .. }
                | Work::Compared {
                    flow: Flow::PingPong,
                    ..
                }
        )
    }

    /// Whether messages are copied or encoded whole and verified by sample.
    fn is_long(&self) -> bool {
        match self.work {
            Work::FreshCopy | Work::FramedCopy { .. } => true,
            Work::ChosenPingPong { layer, .. }
            | Work::ChosenStream { layer, .. }
            | Work::ChosenBroadcast { layer, .. } => layer != Layer::Raw,
            _ => false,
        }
    }

    /// Whether the cell copies memory without a ring.
    fn is_copy(&self) -> bool {
        matches!(self.work, Work::FreshCopy | Work::HotCopy)
    }

    /// Whether the cell is an operation, whose time matters and not its rate.
    pub(crate) fn is_operation(&self) -> bool {
        matches!(self.work, Work::Operation(_))
    }

    /// Whether messages are archives that are read in place.
    fn is_archive(&self) -> bool {
        matches!(self.work, Work::Access { .. } | Work::InPlace { .. })
    }

    /// Whether consumers map the slots writable. Streams keep the default, which makes no difference to them.
    pub(crate) fn maps_writable(&self) -> bool {
        matches!(
            self.work,
            Work::PingPong { writable: true }
                | Work::FramedPingPong
                | Work::TypedPingPong
                | Work::CodecByHand
                | Work::ChosenPingPong { .. }
        )
    }

    /// Whether the cell is a broadcast, whose receivers are processes without a core of their own.
    pub(crate) fn is_broadcast(&self) -> bool {
        match self.work {
            Work::Compared { flow, .. } => flow.is_broadcast(),
            Work::ChosenBroadcast { .. } => true,
            _ => false,
        }
    }

    /// The number of its receivers.
    pub(crate) fn receivers(&self) -> usize {
        match self.work {
            Work::ChosenBroadcast { receivers, .. } => receivers,
            _ if self.is_broadcast() => compare::RECEIVERS,
            _ => 1,
        }
    }

    /// The name of the ring from peer to driver.
    pub(crate) fn reply_name(&self) -> String {
        format!("{}r", self.name)
    }

    /// The file of the counters of a ring.
    pub(crate) fn counters_path(&self, name: &str) -> PathBuf {
        Path::new(&self.root).join(format!("{name}.counters"))
    }

    /// The number of messages that a round sends.
    pub(crate) fn messages_per_round(&self, quick: bool) -> u64 {
        if let Some(per_s) = self.per_s {
            let per_round = if quick { per_s / 20 } else { per_s / 5 };
            return per_round.clamp(64, 65_536);
        }
        if let Work::Compared { flow, .. } = self.work {
            let full = compare::messages_per_round(self, flow);
            let part = match quick {
                true if cfg!(debug_assertions) => 128,
                true => 16,
                false => 1,
            };
            return full.div_ceil(part).max(64);
        }
        // a debug build writes long messages and checks archives byte by byte
        let is_slow = cfg!(debug_assertions) && (self.is_long() || self.is_archive());
        if self.is_latency() {
            let most = match quick {
                true if is_slow => 64,
                true if cfg!(debug_assertions) => 128,
                true => 512,
                false => 4_096,
            };
            return copies(self.size_bytes, most);
        }
        // Each block makes two laps of the ring, whatever its capacity.
        let laps = 2 * BLOCKS * self.capacity as u64;
        let full = match self.work {
            Work::FramedCopy { frame_bytes } | Work::InPlace { frame_bytes } => {
                laps / (self.size_bytes / frame_bytes) as u64
            }
            Work::FreshCopy => copies(self.size_bytes, 4_096),
            Work::ChosenStream { frame_bytes, .. } | Work::ChosenBroadcast { frame_bytes, .. } => {
                // several laps of the ring, so that the sender keeps to the receiver's pace
                let frames = self.size_bytes.div_ceil(frame_bytes) as u64;
                copies(self.size_bytes, 262_144).max(4 * self.capacity as u64 / frames)
            }
            Work::HotCopy => copies(self.size_bytes, 65_536),
            Work::Operation(operation) => operation.times(),
            // reading a million bytes of small values takes milliseconds
            Work::Access { .. } => (1 << 24) / self.size_bytes.max(1 << 10) as u64,
            _ if self.size_bytes > 128 => laps.max(65_536),
            _ => laps.max(262_144),
        };
        let part = match quick {
            _ if self.is_copy() && self.size_bytes > 1 << 20 => 1,
            true if is_slow => 64,
            // a debug build shows that every message arrives, and no figure
            true if cfg!(debug_assertions) => 128,
            true => 8,
            false => 1,
        };
        let has_no_batches =
            self.is_long() || self.is_copy() || self.is_operation() || quick && is_slow;
        let count = full.div_ceil(part);
        if count < BLOCKS {
            return count;
        }
        count.next_multiple_of(BLOCKS * if has_no_batches { 1 } else { BATCH })
    }
}

/// The number of copies in a round: `most` of short messages, and in all at most [`COPIED_BYTES`].
fn copies(size_bytes: usize, most: u64) -> u64 {
    (COPIED_BYTES / size_bytes as u64).clamp(2, most)
}

/// Bytes that a round copies at most.
const COPIED_BYTES: u64 = 256 << 20;
