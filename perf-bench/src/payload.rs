//! The content of an event, and the reader's proof that it has read all of it.
//!
//! Floors and scenarios use exactly this code, so a ratio compares only the transports. The hash depends on the
//! order in two ways: each word is mixed with a constant of its position, and the events are folded in sequence.

/// An event that consists of `W` words and nothing else.
pub(crate) trait OfWords<const W: usize>: myelon::Event {
    /// The words, for reading.
    fn words(&self) -> &[u64; W];
    /// The words, for writing.
    fn words_mut(&mut self) -> &mut [u64; W];
}

/// The event of every scenario, unless another one is stated.
#[derive(Clone, Copy, Debug, myelon::Event)]
#[repr(C)]
pub(crate) struct Words<const W: usize>([u64; W]);

/// The same event in packed slots: several tiny events share a line.
#[derive(Clone, Copy, Debug, myelon::Event)]
#[repr(C)]
#[event(packed_slots)]
pub(crate) struct PackedWords<const W: usize>([u64; W]);

macro_rules! of_words {
    ($($event:ident)*) => {$(
        impl<const W: usize> OfWords<W> for $event<W> {
            #[inline(always)]
            fn words(&self) -> &[u64; W] {
                &self.0
            }

            #[inline(always)]
            fn words_mut(&mut self) -> &mut [u64; W] {
                &mut self.0
            }
        }
    )*};
}
of_words!(Words PackedWords);

/// The largest event, in words.
const WORDS_MAX: usize = 512;

/// One constant per word of an event.
const PLACE: [u64; WORDS_MAX + 1] = {
    let mut place = [0; WORDS_MAX + 1];
    let mut x = 0x9E37_79B9_7F4A_7C15_u64;
    let mut i = 0;
    while i < place.len() {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        place[i] = x;
        i += 1;
    }
    place
};

/// Marks a reply, so that a mere echo of the request does not verify.
pub(crate) const REPLY: u64 = 1 << 63;

/// The key of message `index` of round `round`.
#[inline]
pub(crate) fn key(round: u64, index: u64) -> u64 {
    (round << 40) + index
}

/// Whether this may be the key of a message of `round` or of an earlier one.
#[inline]
pub(crate) fn is_up_to(round: u64, key: u64) -> bool {
    key < self::key(round + 1, 0)
}

/// The round and the index of the message with this key.
#[inline]
pub(crate) fn parts(key: u64) -> (u64, u64) {
    let first = self::key(1, 0);
    (key / first, key % first)
}

/// Whether the message with this key may come right after that with the key `last`: as the next of its round, or as
/// the first of a later one.
#[inline]
pub(crate) fn follows(key: u64, last: u64) -> bool {
    key == last + 1 || key > last && parts(key).1 == 0
}

/// Writes every word of an event.
#[inline(always)]
pub(crate) fn fill<const W: usize>(words: &mut [u64; W], key: u64) {
    for i in 0..W {
        words[i] = key.wrapping_add(PLACE[i]);
    }
}

/// The key that an event was filled with; `None` if the event is torn.
#[inline]
pub(crate) fn key_of<const W: usize>(words: &[u64; W]) -> Option<u64> {
    let key = words[0].wrapping_sub(PLACE[0]);
    let mut whole = [0; W];
    fill(&mut whole, key);
    (whole == *words).then_some(key)
}

/// Reads every word of an event and folds it into the hash of the events before it.
#[inline(always)]
pub(crate) fn fold<const W: usize>(hash: u64, words: &[u64; W]) -> u64 {
    let mut sum = 0_u64;
    for i in 0..W {
        sum = sum.wrapping_add(words[i] ^ PLACE[i + 1]);
    }
    (hash.rotate_left(9) ^ sum).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

/// The words as bytes.
#[inline(always)]
pub fn bytes_of(words: &[u64]) -> &[u8] {
    // SAFETY: the slice covers the same memory, every byte of which is initialised, and bytes need no alignment.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words)) }
}

/// The words as bytes, for writing.
#[inline(always)]
pub(crate) fn bytes_of_mut(words: &mut [u64]) -> &mut [u8] {
    // SAFETY: as in `bytes_of`; and whatever the bytes become, they are words.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words)) }
}

/// The words that these bytes contain; `None` if there are too few bytes.
#[inline(always)]
pub fn words_of<const W: usize>(bytes: &[u8]) -> Option<[u64; W]> {
    // the length is constant from here on, so that no loop depends on it
    let bytes = bytes.get(..W * size_of::<u64>())?;
    let mut words = [0; W];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(size_of::<u64>())) {
        *word = u64::from_ne_bytes(bytes.try_into().ok()?);
    }
    Some(words)
}

/// The hash that a reader of `count` messages of `round` must arrive at; `mark` is 0 or [`REPLY`].
pub(crate) fn expected<const W: usize>(round: u64, count: u64, mark: u64) -> u64 {
    let mut words = [0; W];
    (0..count).fold(0, |hash, index| {
        fill(&mut words, key(round, index) ^ mark);
        fold(hash, &words)
    })
}

/// Runs `$body` with the const `$words` set to the number of words of an event of `$size` bytes.
macro_rules! for_size {
    ($size:expr, $words:ident => $body:expr) => {
        $crate::payload::for_size!(@ $size, $words, $body, 1 3 7 8 31 128)
    };
    (@ $size:expr, $words:ident, $body:expr, $($n:literal)*) => {
        match $size / 8 {
            $($n => { const $words: usize = $n; $body })*
            _ => unreachable!("sizes are checked when the options are read"),
        }
    };
}
pub(crate) use for_size;

/// The same for bare loops, which `compare` runs with longer events.
macro_rules! for_bare_size {
    ($size:expr, $words:ident => $body:expr) => {
        $crate::payload::for_size!(@ $size, $words, $body, 1 3 7 8 31 128 512)
    };
}
pub(crate) use for_bare_size;

/// The sizes that can be measured, in bytes; `compare` has its own.
pub(crate) const SIZES: [usize; 6] = [8, 24, 56, 64, 248, 1024];

/// The sizes that are measured in packed slots. No two events of the other sizes share a line.
pub(crate) const PACKED_SIZES: [usize; 2] = [8, 24];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_event_has_no_key() {
        let mut words = [0; 7];
        fill(&mut words, 42);
        assert_eq!(key_of(&words), Some(42));
        words[6] ^= 1;
        assert_eq!(key_of(&words), None);
    }

    #[test]
    fn the_next_message_and_the_first_of_a_later_round_follow_a_message() {
        assert_eq!(parts(key(3, 7)), (3, 7));
        assert!(is_up_to(3, key(3, 7)) && !is_up_to(3, key(4, 0)));
        for (round, index, may_follow) in [
            (3, 8, true),
            (3, 9, false),
            (3, 7, false),
            (4, 0, true),
            (4, 1, false),
            (2, 0, false),
        ] {
            let found = follows(key(round, index), key(3, 7));
            assert_eq!(found, may_follow, "{round} {index}");
        }
    }

    #[test]
    fn a_lost_swapped_or_repeated_event_changes_the_hash() {
        let event = |index| {
            let mut words = [0; 7];
            fill(&mut words, key(3, index));
            words
        };
        let hash = |order: &[u64]| order.iter().fold(0, |h, &i| fold(h, &event(i)));
        assert_eq!(hash(&[0, 1, 2]), expected::<7>(3, 3, 0));
        for wrong in [&[0, 2, 1][..], &[0, 1], &[0, 1, 1, 2]] {
            assert_ne!(hash(wrong), expected::<7>(3, 3, 0));
        }
        let mut torn = event(1);
        torn.swap(0, 6);
        assert_ne!(fold(0, &torn), fold(0, &event(1)));
    }
}
