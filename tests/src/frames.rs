//! Messages between processes that die: their contents, and the judge of what arrived.
//!
//! A message begins with its writer, its number and its length, and every later byte follows from these three.
//! Actors (`src/bin/actor/messages.rs`) keep ledgers. A producer writes what it is about to send and what it has
//! sent; a consumer writes what it sees before it is released. The [judge] reads all ledgers.

use myelon::transport::FixedFrame;

pub mod judge;

/// The frame type of all these rings.
pub type Frame = FixedFrame<FRAME_BYTES>;

/// Payload of a frame, in bytes.
pub const FRAME_BYTES: usize = 64;

/// The shortest message, in bytes: the three words that identify it.
pub const LEN_MIN: usize = 24;

/// How many frames a message of `len` bytes takes.
pub fn frames_of(len: usize) -> usize {
    len.div_ceil(FRAME_BYTES).max(1)
}

/// The message of this number by this writer, `len` bytes long.
pub fn message(writer: u64, number: u64, len: usize) -> Vec<u8> {
    assert!(
        len >= LEN_MIN,
        "a message of {len} bytes cannot say which it is"
    );
    let mut bytes = vec![0; len];
    let words = [writer, number, len as u64];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    fastrand::Rng::with_seed(writer << 32 | number).fill(&mut bytes[LEN_MIN..]);
    bytes
}

/// The writer and the number of a message.
///
/// # Errors
///
/// A description, if the bytes are no such message or one of them is wrong.
pub fn identify(kind: u8, bytes: &[u8]) -> Result<(u64, u64), String> {
    let mut words = bytes.chunks_exact(8).map(|word| {
        let word = word.first_chunk().expect("eight bytes");
        u64::from_ne_bytes(*word)
    });
    let (Some(writer), Some(number), Some(len)) = (words.next(), words.next(), words.next()) else {
        return Err(format!("{} bytes are no message", bytes.len()));
    };
    if len != bytes.len() as u64 {
        let found = bytes.len();
        return Err(format!(
            "{found} bytes of message {number} by {writer}, which has {len}"
        ));
    }
    match kind == number as u8 && bytes == message(writer, number, bytes.len()) {
        true => Ok((writer, number)),
        false => Err(format!("message {number} by {writer} is torn")),
    }
}
