//! The content of a long message, and the reader's proof that it has received it.
//!
//! A long message is always moved whole. But only a sample of it is changed by its writer and verified by its
//! reader: one word of each KiB (or of a shorter message), at another position in each message. In the warm-up round
//! the sample is every word. Filling or reading the whole message would take about as long as moving it.

use crate::payload::{is_up_to, parts};

/// Bytes from one word of a sample to the next.
const SPACING: usize = 1024;
const WORD: usize = size_of::<u64>();

/// The words of a message that are written and verified, and their values.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// The sample has one word per this many bytes.
    spacing: usize,
    /// The position of the word within those bytes.
    at: usize,
    key: u64,
}

impl Sample {
    fn new(len: usize, round: u64, index: u64) -> Self {
        let spacing = if round == 0 { WORD } else { SPACING.min(len) };
        Self {
            spacing,
            // nine words further on: another line each time, and in the end every word
            at: (index as usize * 9 * WORD) % spacing,
            key: crate::payload::key(round, index),
        }
    }

    /// The indices, among so many words, of those that belong to the sample.
    #[inline(always)]
    fn places(self, words: usize) -> impl Iterator<Item = usize> {
        (self.at / WORD..words).step_by(self.spacing / WORD)
    }

    /// The word of piece `number`.
    #[inline(always)]
    fn word(self, number: u64) -> u64 {
        self.key.wrapping_add(place(number))
    }
}

/// One constant per position.
#[inline(always)]
fn place(number: u64) -> u64 {
    (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Adds the word of piece `number` to the sum of those before it.
#[inline(always)]
fn add(sum: u64, word: u64, number: u64) -> u64 {
    sum.wrapping_add(word ^ place(number).rotate_left(23))
}

/// Folds a message's sum into the hash of the messages before it.
#[inline(always)]
fn mix(hash: u64, sum: u64) -> u64 {
    (hash.rotate_left(9) ^ sum).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

/// The number that stands for `round` in the samples of messages with this mark, which is 0 or
/// [`REPLY`](crate::payload::REPLY). So the keys of replies have the mark.
pub(crate) fn marked(round: u64, mark: u64) -> u64 {
    round | mark >> 40
}

/// Writes the sample of message `index` of `round` into a message. Its length is a multiple of 1 KiB,
/// or a smaller power of two.
pub(crate) fn write(message: &mut [u8], round: u64, index: u64) {
    let sample = Sample::new(message.len(), round, index);
    let (words, _) = message.as_chunks_mut::<WORD>();
    for (at, number) in sample.places(words.len()).zip(0..) {
        words[at] = sample.word(number).to_ne_bytes();
    }
}

/// Changes one bit of the last word of the sample of a message.
pub(crate) fn flip_last(message: &mut [u8], round: u64, index: u64) {
    let len = message.len();
    let (words, _) = message.as_chunks_mut::<WORD>();
    if let Some(at) = Sample::new(len, round, index).places(words.len()).last() {
        words[at][0] ^= 1;
    }
}

/// Reads the sample of a message, and folds it into the hash of the messages before it.
pub(crate) fn fold(hash: u64, message: &[u8], round: u64, index: u64) -> u64 {
    let sample = Sample::new(message.len(), round, index);
    let (words, _) = message.as_chunks::<WORD>();
    let places = sample.places(words.len()).zip(0..);
    let sum = places.fold(0, |sum, (at, number)| {
        add(sum, u64::from_ne_bytes(words[at]), number)
    });
    mix(hash, sum)
}

/// The key of a message of `round` or of an earlier one; `None` if its sample is not whole.
pub(crate) fn key_of(message: &[u8], round: u64) -> Option<u64> {
    let (words, _) = message.as_chunks::<WORD>();
    // The positions of other samples hold words of earlier messages, so the latest key is that of this one.
    let pieces = SPACING.min(message.len()) / WORD;
    let sample = |key| {
        let (round, index) = parts(key);
        Sample::new(message.len(), round, index)
    };
    let first = words.get(..pieces)?.iter().zip(0..);
    let keys = first.filter_map(|(&word, at)| {
        let key = u64::from_ne_bytes(word).wrapping_sub(place(0));
        (is_up_to(round, key) && sample(key).at == at * WORD).then_some(key)
    });
    let key = keys.max()?;
    let mut places = sample(key).places(words.len()).zip(0..);
    let is_whole =
        places.all(|(at, number)| u64::from_ne_bytes(words[at]) == sample(key).word(number));
    is_whole.then_some(key)
}

/// The hash that a reader of `count` messages of `len` bytes must arrive at.
pub(crate) fn expected(len: usize, round: u64, count: u64) -> u64 {
    (0..count).fold(0, |hash, index| {
        let sample = Sample::new(len, round, index);
        let numbers = 0..(len / sample.spacing) as u64;
        let sum = numbers.fold(0, |sum, number| add(sum, sample.word(number), number));
        mix(hash, sum)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = 4096;

    fn hash(round: u64, order: &[u64]) -> u64 {
        let mut message = vec![0; LEN];
        order.iter().zip(0..).fold(0, |hash, (&sent, index)| {
            write(&mut message, round, sent);
            fold(hash, &message, round, index)
        })
    }

    #[test]
    fn a_lost_swapped_or_repeated_message_changes_the_hash() {
        for round in [0, 3] {
            assert_eq!(hash(round, &[0, 1, 2]), expected(LEN, round, 3));
            for wrong in [&[0, 2, 1][..], &[0, 1], &[0, 1, 1, 2]] {
                assert_ne!(hash(round, wrong), expected(LEN, round, 3));
            }
        }
    }

    #[test]
    fn a_message_has_its_key_until_a_bit_of_it_is_wrong() {
        for len in [8, 64, 1024, LEN] {
            let mut message = vec![0; len];
            for (round, index) in [(0, 0), (0, 1), (1, 0), (1, 1), (1, 129), (2, 0), (2, 1)] {
                write(&mut message, round, index);
                let key = Some(crate::payload::key(round, index));
                for later in 0..2 {
                    assert_eq!(key_of(&message, round + later), key, "{len} {round}");
                }
                let mut torn = message.clone();
                flip_last(&mut torn, round, index);
                assert_ne!(key_of(&torn, round), key, "{len} {round}");
            }
            assert_eq!(key_of(&message, 1), None, "{len}");
        }
    }

    #[test]
    fn a_piece_that_did_not_come_shows_and_so_does_every_byte_of_the_first_round() {
        let mut message = vec![0; LEN];
        write(&mut message, 5, 0);
        let whole = fold(0, &message, 5, 0);
        flip_last(&mut message, 5, 0);
        assert_ne!(fold(0, &message, 5, 0), whole);
        flip_last(&mut message, 5, 0);
        assert_eq!(fold(0, &message, 5, 0), whole);
        message[1024..2048].fill(0);
        assert_ne!(fold(0, &message, 5, 0), whole);

        write(&mut message, 0, 0);
        for at in 0..LEN {
            let mut torn = message.clone();
            torn[at] ^= 1;
            assert_ne!(fold(0, &torn, 0, 0), expected(LEN, 0, 1), "byte {at}");
        }
    }

    #[test]
    fn a_message_shorter_than_a_kib_has_a_sample_too() {
        for len in [64, 256, 1024] {
            let mut message = vec![0; len];
            for index in 0..200 {
                write(&mut message, 3, index);
                let whole = fold(0, &message, 3, index);
                flip_last(&mut message, 3, index);
                assert_ne!(fold(0, &message, 3, index), whole, "{len} {index}");
            }
        }
    }

    #[test]
    fn every_word_has_its_turn() {
        let mut places: Vec<_> = (0..128)
            .map(|index| Sample::new(LEN, 1, index).at)
            .collect();
        places.sort_unstable();
        let all: Vec<_> = (0..SPACING).step_by(WORD).collect();
        assert_eq!(places, all);
    }
}
