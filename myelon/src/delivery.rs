//! How often a message was delivered: a number in the [note](disruptor_mp::Consumer::note) of its consumer's place,
//! beside the sequence of its first frame. The consumer counts, and its successor reads; in a session, so does the
//! scheduler.

use disruptor_mp::{Consumer, Sequence};

use crate::transport::FramedTransportFrame;

/// Bits of a note that count.
const COUNT_BITS: u32 = 16;

/// The greatest count of deliveries.
const MOST: u32 = (1 << COUNT_BITS) - 1;

/// The note of a place whose next message begins at `next` and was delivered `count` times, at most [`MOST`].
fn note(next: Sequence, count: u32) -> u64 {
    (next as u64) << COUNT_BITS | u64::from(count)
}

/// How often the message that begins at `next` was delivered, by its place's note.
pub(crate) fn deliveries(of_place: u64, next: Sequence) -> u32 {
    let count = of_place.wrapping_sub(note(next, 0));
    match count <= u64::from(MOST) {
        true => count as u32,
        false => 0,
    }
}

/// How often this consumer's next message was delivered.
pub(crate) fn of_next<F: FramedTransportFrame, B>(place: &Consumer<F, B>) -> u32 {
    deliveries(place.note(), place.current_sequence() + 1)
}

/// Says how often this consumer's next message was delivered.
#[inline(always)]
pub(crate) fn set_of_next<F: FramedTransportFrame, B>(place: &Consumer<F, B>, count: u32) {
    place.set_note(note(place.current_sequence() + 1, count));
}

/// Counts the delivery of this consumer's next message, and returns the delivery's number, from 1.
#[inline(always)]
pub(crate) fn count_next<F: FramedTransportFrame, B>(place: &Consumer<F, B>) -> u32 {
    let next = place.current_sequence() + 1;
    let count = (deliveries(place.note(), next) + 1).min(MOST);
    place.set_note(note(next, count));
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_counts_for_its_request_alone() {
        let of_place = note(7, 3);
        assert_eq!(deliveries(of_place, 7), 3);
        assert_eq!((deliveries(of_place, 6), deliveries(of_place, 8)), (0, 0));
        assert_eq!(deliveries(0, 0), 0);
        assert_eq!(deliveries(note(7, MOST), 7), MOST);
    }
}
