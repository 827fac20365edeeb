//! How often a request was delivered: a number in the [note](disruptor_mp::Consumer::note) of its worker's place,
//! beside the sequence of its first frame. The worker counts, and its successor and the scheduler read.

use disruptor_mp::Sequence;

/// Bits of a note that count.
const COUNT_BITS: u32 = 16;

/// The greatest count of deliveries.
pub(super) const MOST: u32 = (1 << COUNT_BITS) - 1;

/// The note of a place whose next request begins at `next` and was delivered `count` times, at most [`MOST`].
pub(super) fn note(next: Sequence, count: u32) -> u64 {
    (next as u64) << COUNT_BITS | u64::from(count)
}

/// How often the request that begins at `next` was delivered, by its place's note.
pub(super) fn deliveries(of_place: u64, next: Sequence) -> u32 {
    let count = of_place.wrapping_sub(note(next, 0));
    match count <= u64::from(MOST) {
        true => count as u32,
        false => 0,
    }
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
