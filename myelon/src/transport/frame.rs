//! The frame: an event that carries a piece of a message.
//!
//! A message is one frame or a run of frames. The producer writes the header and the used part of the payload,
//! nothing else; the rest of the slot keeps the bytes of an earlier message.
//!
//! ```text
//! FixedFrame          len u32 | kind u8 | flags u8 | check u16 | msg_id u32 | payload ...
//! AlignedFixedFrame   the same                                  | 4 unused  | payload, aligned to 16 ...
//! ```
//!
//! The fields are redundant: a reader can check each of them against something else that it knows. So a reader
//! can tell a frame that is damaged, or that does not belong where it is, from a sound one:
//!
//! * `len`: the message's bytes from this frame to the end of the message. In the first frame it is therefore the
//!   length of the whole message. Bytes that do not fit this frame are in the frames that follow.
//! * `flags`: START in the first frame, END in the last one. TIMED is set in every frame of a message whose last
//!   8 bytes are the time at which it was sent.
//! * `msg_id`: the low 32 bits of the first frame's sequence.
//! * `check`: the exclusive or of all other 16-bit words of the header. It detects any single flipped bit.
//!
//! In a ring of large frames, header and stamp share a cache line and the payload starts the next one
//! ([`Event::HEAD_BYTES`]).

use core::fmt::{self, Write};

use disruptor_mp::{Event, LayoutId};

/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 12;

/// Bytes of the time that a timed message ends with.
pub(super) const TIME_BYTES: usize = size_of::<u64>();

/// The bits of the `flags` field of a frame's header.
///
/// # Examples
///
/// ```
/// use myelon::transport::{frame_flags, is_last_frame, is_single_frame};
///
/// assert!(is_single_frame(frame_flags::START | frame_flags::END | frame_flags::TIMED));
/// assert!(is_last_frame(frame_flags::END));
/// ```
pub mod frame_flags {
    /// The message's first frame.
    pub const START: u8 = 1;
    /// The message's last frame.
    pub const END: u8 = 2;
    /// The message's last 8 bytes are the time at which it was sent.
    pub const TIMED: u8 = 4;
    /// All bits that have a meaning.
    pub const ALL: u8 = START | END | TIMED;
}

/// The flags of a frame that is the first of its message, the last, both, or neither.
///
/// # Examples
///
/// ```
/// use myelon::transport::frame_flags;
///
/// const WHOLE: u8 = frame_flags(true, true);
/// assert_eq!(WHOLE, frame_flags::START | frame_flags::END);
/// assert_eq!(frame_flags(false, true), frame_flags::END);
/// assert_eq!(frame_flags(false, false), 0);
/// ```
pub const fn frame_flags(first: bool, last: bool) -> u8 {
    (if first { frame_flags::START } else { 0 }) | (if last { frame_flags::END } else { 0 })
}

/// Whether a frame with these flags is a whole message.
///
/// ```
/// use myelon::transport::{frame_flags, is_single_frame};
///
/// assert!(is_single_frame(frame_flags::START | frame_flags::END));
/// assert!(!is_single_frame(frame_flags::START));
/// ```
pub const fn is_single_frame(flags: u8) -> bool {
    flags & (frame_flags::START | frame_flags::END) == frame_flags::START | frame_flags::END
}

/// Whether a frame with these flags is its message's last one.
///
/// ```
/// use myelon::transport::{frame_flags, is_last_frame};
///
/// assert!(is_last_frame(frame_flags::END));
/// assert!(!is_last_frame(frame_flags::START));
/// ```
pub const fn is_last_frame(flags: u8) -> bool {
    flags & frame_flags::END != 0
}

/// The contents of a frame's header.
///
/// # Examples
///
/// ```
/// use myelon::transport::{FrameMeta, frame_flags};
///
/// let meta = FrameMeta { len: 64, kind: 7, flags: frame_flags::START | frame_flags::END, msg_id: 0 };
/// let mut bytes = meta.to_bytes();
/// assert_eq!(FrameMeta::from_bytes(&bytes), Some(meta));
/// bytes[0] ^= 1;
/// assert_eq!(FrameMeta::from_bytes(&bytes), None, "a flipped bit shows");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameMeta {
    /// The message's bytes from this frame to the end of the message.
    pub len: u32,
    /// The kind of the message; the program chooses its meaning.
    pub kind: u8,
    /// Bits of [`frame_flags`](mod@frame_flags).
    pub flags: u8,
    /// The low 32 bits of the sequence of the message's first frame.
    pub msg_id: u32,
}

/// The check of a header whose other bytes are all zero. It is not 0, so that a slot of zeros is no frame.
const CHECK_OF_ZEROS: u16 = 0x6D79;

impl FrameMeta {
    /// The header's bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::transport::{FRAME_HEADER_BYTES, FrameMeta, frame_flags};
    ///
    /// let meta = FrameMeta { len: 64, kind: 7, flags: frame_flags::END, msg_id: 3 };
    /// let bytes: [u8; FRAME_HEADER_BYTES] = meta.to_bytes();
    /// assert_eq!((bytes[4], bytes[5]), (7, frame_flags::END));
    /// ```
    #[inline]
    pub const fn to_bytes(self) -> [u8; FRAME_HEADER_BYTES] {
        let [a, b, c, d] = self.len.to_ne_bytes();
        let [e, f] = self.check().to_ne_bytes();
        let [g, h, i, j] = self.msg_id.to_ne_bytes();
        // put together first, so that the compiler stores one word
        let head = u64::from_ne_bytes([a, b, c, d, self.kind, self.flags, e, f]);
        let [a, b, c, d, k, l, e, f] = head.to_ne_bytes();
        [a, b, c, d, k, l, e, f, g, h, i, j]
    }

    /// Reads a header from its bytes; `None` if no header has these bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::transport::{FRAME_HEADER_BYTES, FrameMeta, frame_flags};
    ///
    /// let meta = FrameMeta { len: 64, kind: 7, flags: frame_flags::END, msg_id: 3 };
    /// assert_eq!(FrameMeta::from_bytes(&meta.to_bytes()), Some(meta));
    /// assert_eq!(FrameMeta::from_bytes(&[0; FRAME_HEADER_BYTES]), None, "nothing was written here");
    /// ```
    #[inline]
    pub const fn from_bytes(bytes: &[u8; FRAME_HEADER_BYTES]) -> Option<Self> {
        let [a, b, c, d, kind, flags, e, f, g, h, i, j] = *bytes;
        let meta = Self {
            len: u32::from_ne_bytes([a, b, c, d]),
            kind,
            flags,
            msg_id: u32::from_ne_bytes([g, h, i, j]),
        };
        if meta.check() == u16::from_ne_bytes([e, f]) && flags & !frame_flags::ALL == 0 {
            Some(meta)
        } else {
            None
        }
    }

    /// Whether the message's last 8 bytes are the time at which it was sent.
    #[inline(always)]
    pub(super) const fn is_timed(self) -> bool {
        self.flags & frame_flags::TIMED != 0
    }

    /// The whole message's length in bytes, without the time. Call it on the header of a START frame.
    #[inline(always)]
    pub(super) const fn message_len(self) -> usize {
        let time = if self.is_timed() { TIME_BYTES } else { 0 };
        self.len as usize - time
    }

    #[inline]
    const fn check(self) -> u16 {
        let words = self.len ^ self.msg_id;
        let kind_and_flags = u16::from_ne_bytes([self.kind, self.flags]);
        words as u16 ^ (words >> 16) as u16 ^ kind_and_flags ^ CHECK_OF_ZEROS
    }
}

/// An event that carries a piece of a message. [`FixedFrame`] and [`AlignedFixedFrame`] are two such events.
/// Implement this trait for a frame of your own to carry other data beside the payload, or to place the payload
/// elsewhere.
///
/// # Examples
///
/// ```
/// use myelon::Deadline;
/// use myelon::transport::{FRAME_HEADER_BYTES, FramedTransportFrame, FramedTransportProducer};
///
/// #[derive(Clone, Copy, myelon::Event)]
/// #[repr(C)]
/// struct TracedFrame {
///     header: [u8; FRAME_HEADER_BYTES],
///     host: [u8; 4],
///     payload: [u8; 240],
/// }
///
/// impl FramedTransportFrame for TracedFrame {
///     const PAYLOAD_BYTES: usize = 240;
///
///     fn header(&self) -> &[u8; FRAME_HEADER_BYTES] {
///         &self.header
///     }
///     fn header_mut(&mut self) -> &mut [u8; FRAME_HEADER_BYTES] {
///         &mut self.header
///     }
///     fn payload(&self) -> &[u8] {
///         &self.payload
///     }
///     fn payload_mut(&mut self) -> &mut [u8] {
///         &mut self.payload
///     }
/// }
///
/// let name = myelon::portable_shm_segment_name("doc");
/// let mut tx = FramedTransportProducer::<TracedFrame>::create(&name, 64)?;
/// tx.send(b"hello", 1, Deadline::NEVER)?;
/// # std::fs::remove_file(std::path::Path::new("/dev/shm").join(&*name))?; // it is kept otherwise
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait FramedTransportFrame: Event {
    /// How many bytes of a message a frame carries: at least one. A program that creates a producer or a
    /// consumer for a frame that carries none does not compile.
    ///
    /// ```compile_fail,E0080
    /// use myelon::transport::{FRAME_HEADER_BYTES, FramedTransportConsumer, FramedTransportFrame};
    ///
    /// #[derive(Clone, Copy, myelon::Event)]
    /// #[repr(C)]
    /// struct Empty {
    ///     header: [u8; FRAME_HEADER_BYTES],
    /// }
    ///
    /// impl FramedTransportFrame for Empty {
    ///     const PAYLOAD_BYTES: usize = 0;
    ///
    ///     fn header(&self) -> &[u8; FRAME_HEADER_BYTES] {
    ///         &self.header
    ///     }
    ///     fn header_mut(&mut self) -> &mut [u8; FRAME_HEADER_BYTES] {
    ///         &mut self.header
    ///     }
    ///     fn payload(&self) -> &[u8] {
    ///         &[]
    ///     }
    ///     fn payload_mut(&mut self) -> &mut [u8] {
    ///         &mut []
    ///     }
    /// }
    ///
    /// let ring = myelon::HeapRing::<Empty>::new(8).unwrap();
    /// let rx = FramedTransportConsumer::from_builder(ring.builder());
    /// ```
    const PAYLOAD_BYTES: usize;

    /// The header's bytes.
    fn header(&self) -> &[u8; FRAME_HEADER_BYTES];

    /// The header's bytes, for writing.
    fn header_mut(&mut self) -> &mut [u8; FRAME_HEADER_BYTES];

    /// The payload: at least [`PAYLOAD_BYTES`](Self::PAYLOAD_BYTES). If it is shorter, messages are malformed.
    fn payload(&self) -> &[u8];

    /// The payload, for writing: at least [`PAYLOAD_BYTES`](Self::PAYLOAD_BYTES).
    fn payload_mut(&mut self) -> &mut [u8];
}

/// Compiles only for frames that carry at least one byte: the number of frames that a message takes is found by
/// dividing by what each frame carries.
pub(super) const fn assert_carries_something<F: FramedTransportFrame>() {
    const {
        assert!(
            F::PAYLOAD_BYTES > 0,
            "a frame carries one byte of payload at least"
        )
    }
}

/// A frame with `N` bytes of payload directly after the header; `N` is at least 1.
///
/// In frames with 237 bytes of payload or more, the payload starts 4 bytes before a cache line. If messages are
/// read in place as a type with an alignment, use an [`AlignedFixedFrame`].
///
/// # Examples
///
/// ```
/// use myelon::Deadline;
/// use myelon::transport::{FixedFrame, FramedTransportFrame, FramedTransportProducer};
///
/// let ring = myelon::HeapRing::<FixedFrame<1000>>::new(8)?;
/// let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
/// tx.send(&[7; 1000], 1, Deadline::NEVER)?;
/// assert_eq!((FixedFrame::<1000>::PAYLOAD_BYTES, tx.last_published_sequence()), (1000, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
#[repr(C)]
pub struct FixedFrame<const N: usize> {
    header: [u8; FRAME_HEADER_BYTES],
    payload: [u8; N],
}

/// A frame with `N` bytes of payload, aligned to 16 bytes; `N` is a multiple of 16.
///
/// In frames with 240 bytes of payload or more, the payload starts on a cache line.
///
/// # Examples
///
/// ```
/// use myelon::Deadline;
/// use myelon::transport::{AlignedFixedFrame, FramedTransportConsumer, FramedTransportProducer};
///
/// let ring = myelon::HeapRing::<AlignedFixedFrame<1008>>::new(8)?;
/// let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
/// let mut rx = FramedTransportConsumer::from_builder(ring.builder())?;
/// tx.send(&[7; 1000], 1, Deadline::NEVER)?;
/// assert!(rx.recv(Deadline::NEVER)?.as_ptr().cast::<u128>().is_aligned());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub struct AlignedFixedFrame<const N: usize> {
    header: [u8; FRAME_HEADER_BYTES],
    unused: [u8; 4],
    payload: [u8; N],
}

macro_rules! frame {
    ($frame:ident, $kind:literal, $head:expr, $is_size:expr, $demand:literal) => {
        // SAFETY: the struct is `repr(C)`, consists of bytes and has no padding for any `N` that the constant
        // accepts. So its layout is fixed, all bytes are initialised, every value is meaningful, and there are
        // no pointers and no cells (the contract of `Event`).
        unsafe impl<const N: usize> Event for $frame<N> {
            const LAYOUT_ID: u64 = {
                assert!($is_size(N), $demand);
                LayoutId::new($kind).number(N as u64).finish()
            };
            const HEAD_BYTES: usize = $head;

            fn describe_layout(out: &mut dyn Write) -> fmt::Result {
                write!(
                    out,
                    concat!("{{ {} with {} bytes of payload }} size {} align {}"),
                    $kind,
                    N,
                    size_of::<Self>(),
                    align_of::<Self>()
                )
            }
        }

        impl<const N: usize> FramedTransportFrame for $frame<N> {
            const PAYLOAD_BYTES: usize = N;

            #[inline(always)]
            fn header(&self) -> &[u8; FRAME_HEADER_BYTES] {
                &self.header
            }

            #[inline(always)]
            fn header_mut(&mut self) -> &mut [u8; FRAME_HEADER_BYTES] {
                &mut self.header
            }

            #[inline(always)]
            fn payload(&self) -> &[u8] {
                &self.payload
            }

            #[inline(always)]
            fn payload_mut(&mut self) -> &mut [u8] {
                &mut self.payload
            }
        }

        impl<const N: usize> fmt::Debug for $frame<N> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($frame))
                    .field("header", &FrameMeta::from_bytes(&self.header))
                    .finish_non_exhaustive()
            }
        }
    };
}

/// Any positive size.
const fn is_positive(size: usize) -> bool {
    size > 0
}

/// A size for which the frame's size is a multiple of its alignment.
const fn is_multiple_of_16(size: usize) -> bool {
    size > 0 && size.is_multiple_of(16)
}

frame!(
    FixedFrame,
    "FixedFrame",
    FRAME_HEADER_BYTES,
    is_positive,
    "a frame carries one byte of payload at least"
);
frame!(
    AlignedFixedFrame,
    "AlignedFixedFrame",
    16,
    is_multiple_of_16,
    "the payload of an aligned frame is a multiple of 16 bytes"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_single_bit_flip_in_a_header_shows() {
        for meta in [
            FrameMeta {
                len: 0,
                kind: 0,
                flags: 3,
                msg_id: 0,
            },
            FrameMeta {
                len: 65_536,
                kind: 255,
                flags: 5,
                msg_id: u32::MAX,
            },
            FrameMeta {
                len: u32::MAX,
                kind: 1,
                flags: 0,
                msg_id: 0x8000_0001,
            },
        ] {
            let bytes = meta.to_bytes();
            assert_eq!(FrameMeta::from_bytes(&bytes), Some(meta));
            for bit in 0..8 * FRAME_HEADER_BYTES {
                let mut flipped = bytes;
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(
                    FrameMeta::from_bytes(&flipped),
                    None,
                    "bit {bit} of {meta:?}"
                );
            }
        }
    }

    #[test]
    fn zeros_and_ones_are_no_header() {
        assert_eq!(FrameMeta::from_bytes(&[0; FRAME_HEADER_BYTES]), None);
        assert_eq!(FrameMeta::from_bytes(&[0xFF; FRAME_HEADER_BYTES]), None);
    }

    #[test]
    fn a_flag_without_a_meaning_is_no_header() {
        let meta = FrameMeta {
            len: 1,
            kind: 1,
            flags: 8,
            msg_id: 1,
        };
        assert_eq!(FrameMeta::from_bytes(&meta.to_bytes()), None);
    }

    #[test]
    fn sizes() {
        assert_eq!(size_of::<FixedFrame<1>>(), 13);
        assert_eq!(size_of::<AlignedFixedFrame<65_536>>(), 65_552);
        assert_eq!(align_of::<AlignedFixedFrame<16>>(), 16);
        assert_ne!(FixedFrame::<16>::LAYOUT_ID, FixedFrame::<17>::LAYOUT_ID);
        assert_ne!(
            FixedFrame::<16>::LAYOUT_ID,
            AlignedFixedFrame::<16>::LAYOUT_ID
        );
    }
}
