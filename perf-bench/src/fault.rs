//! Rounds, and the faults that can be planted in them to show that each scenario's verification finds them.
//!
//! A fault is planted where messages are sent, in a round of every cell: the first fault of a run in its first counted
//! round, the second one in the next, and so on. Loops take it as a constant parameter, so that the loops of a real
//! measurement contain nothing of it.

use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::payload::{fill, key};
use crate::sample;

/// A planted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub(crate) enum Fault {
    /// One bit of one message is wrong. In a scenario without messages, something happens that should not.
    Flip,
    /// One message is left out; the messages after it move up.
    Lose,
    /// One message is sent twice; the messages after it move down.
    Double,
    /// One round takes longer than a round may take.
    Slow,
}

/// The faults of a run: the first one is planted in round 1, the first round that counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Planted([Option<Fault>; KINDS]);

/// The number of kinds of faults.
const KINDS: usize = 4;

impl Planted {
    /// Plants each of the first four faults in a round of its own.
    pub(crate) fn new(faults: &[Fault]) -> Self {
        Self(std::array::from_fn(|index| faults.get(index).copied()))
    }

    /// The fault of the round with this number.
    pub(crate) fn in_round(self, number: u64) -> Option<Fault> {
        let index = (number as usize).checked_sub(1)?;
        self.0.get(index).copied().flatten()
    }
}

/// The reasons why a cell is not verified are listed until the text is about that long.
const REASONS_LEN: usize = 300;

/// Adds the reason why a round is not verified to the reasons of earlier rounds.
pub(crate) fn complain(reasons: &mut Option<String>, reason: Option<String>) {
    match (reasons.as_mut(), reason) {
        (_, None) => {}
        (None, reason) => *reasons = reason,
        (Some(reasons), Some(reason)) if reasons.len() < REASONS_LEN => {
            reasons.push_str("; ");
            reasons.push_str(&reason);
        }
        (Some(_), Some(_)) => {}
    }
}

/// The message with the fault, in rounds that have more.
const FAULTY_INDEX: u64 = 10;

/// One round of one cell, as both processes know it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Round {
    /// Number of the round; 0 is the warm-up.
    pub(crate) number: u64,
    /// Number of messages or round trips.
    pub(crate) count: u64,
    /// The fault to plant in this round.
    pub(crate) fault: Option<Fault>,
}

impl Round {
    /// A round, with the fault that is planted in it.
    pub(crate) fn new(number: u64, count: u64, planted: Planted) -> Self {
        Self {
            number,
            count,
            fault: planted.in_round(number),
        }
    }

    /// Whether messages have to be sent by the loops that plant faults.
    pub(crate) fn has_faulty_messages(self) -> bool {
        self.fault.is_some_and(|fault| fault != Fault::Slow)
    }

    /// How much longer the driver takes in this round than it should; `limit` is the longest time for a round.
    pub(crate) fn delay(self, limit: Duration) -> Duration {
        match self.fault {
            Some(Fault::Slow) => limit + limit / 8,
            _ => Duration::ZERO,
        }
    }

    /// The message with the fault: never the last, which nothing could follow.
    #[inline(always)]
    fn faulty_index(self) -> u64 {
        FAULTY_INDEX.min(self.count.saturating_sub(1) / 2)
    }

    /// The index that the message sent as number `index` really has.
    #[inline(always)]
    pub(crate) fn real_index<const FAULTY: bool>(self, index: u64) -> u64 {
        if !FAULTY {
            return index;
        }
        match self.fault {
            Some(Fault::Lose) if index >= self.faulty_index() => index + 1,
            Some(Fault::Double) if index > self.faulty_index() => index - 1,
            _ => index,
        }
    }

    /// Whether the message sent as number `index` has a wrong bit.
    #[inline(always)]
    pub(crate) fn is_flipped<const FAULTY: bool>(self, index: u64) -> bool {
        FAULTY && self.fault == Some(Fault::Flip) && index == self.faulty_index()
    }

    /// Writes every word of the message that is sent as number `index`; `mark` is 0 or
    /// [`REPLY`](crate::payload::REPLY).
    #[inline(always)]
    pub(crate) fn fill<const FAULTY: bool, const W: usize>(
        self,
        words: &mut [u64; W],
        index: u64,
        mark: u64,
    ) {
        let real_index = self.real_index::<FAULTY>(index);
        fill(words, key(self.number, real_index) ^ mark);
        if self.is_flipped::<FAULTY>(index) {
            // the last word: a reader that reads only the first ones does not find it
            words[W - 1] ^= 1 << 17;
        }
    }

    /// The words of the message that is sent as number `index`.
    #[inline(always)]
    pub(crate) fn words<const FAULTY: bool, const W: usize>(
        self,
        index: u64,
        mark: u64,
    ) -> [u64; W] {
        let mut words = [0; W];
        self.fill::<FAULTY, W>(&mut words, index, mark);
        words
    }

    /// Writes the sample of the long message that is sent as number `index`; `mark` is 0 or
    /// [`REPLY`](crate::payload::REPLY).
    pub(crate) fn write_sample<const FAULTY: bool>(
        self,
        message: &mut [u8],
        index: u64,
        mark: u64,
    ) {
        let real_index = self.real_index::<FAULTY>(index);
        let number = sample::marked(self.number, mark);
        sample::write(message, number, real_index);
        if self.is_flipped::<FAULTY>(index) {
            sample::flip_last(message, number, real_index);
        }
    }

    /// The key of the message that is sent as number `index`, for senders that take a key. A flipped bit of the key
    /// changes every word.
    #[inline(always)]
    pub(crate) fn sent_key<const FAULTY: bool>(self, index: u64) -> u64 {
        let key = key(self.number, self.real_index::<FAULTY>(index));
        key ^ u64::from(self.is_flipped::<FAULTY>(index)) << 39
    }

    /// The messages of a part of a round, for senders that take a key for a range of them: each item is such a range
    /// and the number to add to the keys in it. Ranges begin at multiples of the batch.
    pub(crate) fn skewed(
        self,
        range: std::ops::Range<u64>,
    ) -> impl Iterator<Item = (std::ops::Range<u64>, u64)> {
        // the end of the first batch is after the faulty message
        let split = (range.start + crate::scenario::BATCH).min(range.end);
        let is_first = range.start == 0;
        let (first, rest) = match self.fault {
            Some(Fault::Flip) if is_first => (1 << 39, 0),
            Some(Fault::Lose) => (!is_first as u64, 1),
            Some(Fault::Double) => (if is_first { 0 } else { u64::MAX }, u64::MAX),
            _ => (0, 0),
        };
        let whole = (range.clone(), first);
        let parts = [(range.start..split, first), (split..range.end, rest)];
        let is_whole = first == rest;
        let parts = parts.into_iter().filter(move |_| !is_whole);
        is_whole.then_some(whole).into_iter().chain(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{expected, fold};

    fn round(fault: Fault) -> Round {
        round_of(64, fault)
    }

    fn round_of(count: u64, fault: Fault) -> Round {
        Round::new(1, count, Planted::new(&[fault]))
    }

    #[test]
    fn each_fault_changes_what_a_reader_arrives_at() {
        let hash = |round: Round| {
            (0..round.count).fold(0, |hash, index| {
                fold(hash, &round.words::<true, 3>(index, 0))
            })
        };
        for count in [2, 3, 11, 64] {
            let right = expected::<3>(1, count, 0);
            assert_eq!(hash(round_of(count, Fault::Slow)), right);
            for fault in [Fault::Flip, Fault::Lose, Fault::Double] {
                assert_ne!(hash(round_of(count, fault)), right, "{fault:?} of {count}");
            }
        }
    }

    #[test]
    fn each_fault_has_a_round_of_its_own() {
        let planted = Planted::new(&[Fault::Slow, Fault::Lose]);
        let found = (0..6).map(|number| planted.in_round(number));
        let none = [None; 3];
        assert!(
            found.eq([None, Some(Fault::Slow), Some(Fault::Lose)]
                .into_iter()
                .chain(none))
        );
        assert_eq!(Planted::default().in_round(1), None);
    }

    #[test]
    fn reasons_are_listed_until_there_are_too_many() {
        let mut reasons = None;
        complain(&mut reasons, None);
        assert_eq!(reasons, None);
        for reason in [Some("one"), None, Some("two")] {
            complain(&mut reasons, reason.map(str::to_owned));
        }
        assert_eq!(reasons.as_deref(), Some("one; two"));
        for _ in 0..1_000 {
            complain(&mut reasons, Some(String::from("more")));
        }
        assert!(reasons.is_some_and(|reasons| reasons.len() < REASONS_LEN + 10));
    }

    #[test]
    fn a_lost_message_is_missing_and_a_doubled_one_is_there_twice() {
        let sent = |fault| (9..13).map(move |index| round(fault).real_index::<true>(index));
        assert!(sent(Fault::Lose).eq([9, 11, 12, 13]));
        assert!(sent(Fault::Double).eq([9, 10, 10, 11]));
        assert!(sent(Fault::Flip).eq(9..13));
        let flipped = round(Fault::Flip).words::<true, 4>(10, 0);
        let right = round(Fault::Flip).words::<false, 4>(10, 0);
        assert_eq!(flipped[..3], right[..3]);
        assert_ne!(flipped[3], right[3]);
    }

    #[test]
    fn skewed_ranges_cover_every_message_once() {
        for (fault, first, later) in [
            (
                Fault::Flip,
                vec![(0..16, 1 << 39), (16..32, 0)],
                vec![(32..64, 0)],
            ),
            (
                Fault::Lose,
                vec![(0..16, 0), (16..32, 1)],
                vec![(32..64, 1)],
            ),
            (
                Fault::Double,
                vec![(0..16, 0), (16..32, u64::MAX)],
                vec![(32..64, u64::MAX)],
            ),
            (Fault::Slow, vec![(0..32, 0)], vec![(32..64, 0)]),
        ] {
            let round = round(fault);
            assert_eq!(round.skewed(0..32).collect::<Vec<_>>(), first, "{fault:?}");
            assert_eq!(round.skewed(32..64).collect::<Vec<_>>(), later, "{fault:?}");
        }
    }

    #[test]
    fn only_a_slow_round_is_delayed() {
        let limit = Duration::from_secs(2);
        assert_eq!(
            round(Fault::Slow).delay(limit),
            Duration::from_millis(2_250)
        );
        assert_eq!(round(Fault::Flip).delay(limit), Duration::ZERO);
        assert!(!round(Fault::Slow).has_faulty_messages());
        assert!(round(Fault::Lose).has_faulty_messages());
    }
}
