//! The buffer in which messages of several frames are put together.

use core::fmt;

/// The alignment of a message's bytes in a buffer, whatever the message's length.
pub const REASSEMBLY_ALIGN: usize = 16;

/// An aligned buffer that a consumer fills with a message of several frames. Reuse it: it grows to the longest
/// message and is not cleared between messages. A message of one frame is read in place and leaves the buffer
/// unchanged.
///
/// # Examples
///
/// ```
/// use myelon::Deadline;
/// use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer, MyelonWaitStrategy, ReassemblyBuffer};
///
/// let name = myelon::portable_shm_segment_name("doc");
/// let mut tx = FramedTransportProducer::<FixedFrame<4>>::create(&name, 8)?;
/// let mut rx = FramedTransportConsumer::<FixedFrame<4>>::attach(&name, 8, MyelonWaitStrategy::Block)?;
/// tx.send(b"three frames", 1, Deadline::NEVER)?;
/// let mut buffer = ReassemblyBuffer::new();
/// let len = rx.recv_leased(&mut buffer, Deadline::NEVER, |_meta, message| message.len())?;
/// assert_eq!((len, buffer.as_slice()), (12, &b"three frames"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct ReassemblyBuffer {
    bytes: Vec<u8>,
    /// The index in the vector at which the message starts. Its address in memory is a multiple of the
    /// alignment.
    start: usize,
}

impl ReassemblyBuffer {
    /// An empty buffer that has allocated no memory.
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::ReassemblyBuffer;
    ///
    /// assert_eq!(ReassemblyBuffer::new().as_slice(), b"");
    /// ```
    pub const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
        }
    }

    /// An empty buffer with memory for a message of `len` bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::ReassemblyBuffer;
    ///
    /// let buffer = ReassemblyBuffer::with_capacity(1 << 20);
    /// assert_eq!(buffer.as_slice(), b"", "nothing was received yet");
    /// ```
    pub fn with_capacity(len: usize) -> Self {
        let mut buffer = Self::new();
        buffer.restart(len);
        buffer
    }

    /// The message that was put together last; empty before the first one.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Empties the buffer, and makes room for a message of `len` bytes.
    pub(super) fn restart(&mut self, len: usize) {
        self.bytes.clear();
        if self.bytes.capacity() < len + REASSEMBLY_ALIGN {
            self.bytes = Vec::with_capacity(len + REASSEMBLY_ALIGN);
        }
        let at = self.bytes.as_ptr().addr();
        self.start = at.next_multiple_of(REASSEMBLY_ALIGN) - at;
        self.bytes.resize(self.start, 0);
    }

    /// Appends a piece of the message.
    pub(super) fn extend(&mut self, piece: &[u8]) {
        if self.bytes.capacity() - self.bytes.len() < piece.len() {
            let message = core::mem::take(self);
            self.restart((message.as_slice().len() + piece.len()).max(2 * message.bytes.len()));
            self.bytes.extend_from_slice(message.as_slice());
        }
        self.bytes.extend_from_slice(piece);
    }

    /// Drops everything after the first `len` bytes.
    pub(super) fn truncate(&mut self, len: usize) {
        self.bytes.truncate(self.start + len);
    }

    /// Takes the message out as a vector and leaves an empty buffer.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let Self { mut bytes, start } = core::mem::take(self);
        bytes.drain(..start);
        bytes
    }
}

impl fmt::Debug for ReassemblyBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReassemblyBuffer")
            .field("len", &self.as_slice().len())
            .field("capacity", &self.bytes.capacity())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_aligned_however_it_grows() {
        let mut buffer = ReassemblyBuffer::new();
        for len in [0, 1, 15, 16, 17, 4096, 100_000] {
            buffer.restart(0);
            for at in 0..len {
                buffer.extend(&[at as u8]);
            }
            assert_eq!(buffer.as_slice().len(), len);
            assert!(
                buffer
                    .as_slice()
                    .iter()
                    .enumerate()
                    .all(|(at, byte)| *byte == at as u8)
            );
            assert!(
                buffer
                    .as_slice()
                    .as_ptr()
                    .addr()
                    .is_multiple_of(REASSEMBLY_ALIGN)
            );
        }
        assert_eq!(buffer.take().len(), 100_000);
        assert_eq!(buffer.as_slice(), b"");
    }

    #[test]
    fn a_message_is_aligned_when_a_piece_is_longer_than_what_came_before() {
        let mut buffer = ReassemblyBuffer::new();
        buffer.restart(0);
        buffer.extend(&[1; 10]);
        buffer.extend(&[2; 1000]);
        let message = buffer.as_slice();
        assert_eq!(message, [&[1; 10][..], &[2; 1000]].concat());
        assert!(message.as_ptr().addr().is_multiple_of(REASSEMBLY_ALIGN));
        assert!(buffer.bytes.capacity() < 2000, "no more than it needs");
    }

    #[test]
    fn room_once_made_is_kept() {
        let mut buffer = ReassemblyBuffer::with_capacity(1000);
        let before = buffer.bytes.as_ptr();
        for _ in 0..3 {
            buffer.restart(1000);
            buffer.extend(&[7; 1000]);
        }
        assert_eq!(buffer.bytes.as_ptr(), before);
    }
}
