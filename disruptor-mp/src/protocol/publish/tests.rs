//! A refresh yields exactly the slots that `is_obtainable` and `obtainable_slots` promise: a producer that is
//! promised space does not fall asleep.

use super::*;
use crate::layout::control::{ConsumerId, LineState};
use crate::segment::{Segment, create_on_heap, open_on_heap};

const CAPACITY: usize = 8;
/// Miri takes a tenth of a second for each ring, so that it tries only every so many of the positions and claim sizes.
const ONE_IN: usize = if cfg!(miri) { 4 } else { 1 };

fn segment() -> Segment<u64> {
    open_on_heap(
        &create_on_heap::<u64>(CAPACITY, 0, false).expect("a ring"),
        CAPACITY,
    )
}

fn producer(segment: &Segment<u64>, expectation: Expectation) -> ProducerCore<u64> {
    ProducerCore::new(segment.view, 0, -1, expectation)
}

fn publish(core: &mut ProducerCore<u64>, n: i64) {
    for _ in 0..n {
        assert!(
            core.vacant(1).is_some() || core.refresh(1),
            "there is space"
        );
        let next = core.next();
        core.publish_one(next);
    }
}

/// A registered line in the given state, as its owner leaves it at some step.
fn place(segment: &Segment<u64>, index: usize, state: LineState, sequence: Sequence) {
    let control = segment.control();
    let line = &control.consumers[index];
    line.set_id(&ConsumerId::new(&format!("c{index}")).expect("an id"), true);
    line.sequence.store(sequence, Ordering::Relaxed);
    line.set_state(state);
    control
        .registered
        .bits
        .fetch_or(1 << index, Ordering::Relaxed);
}

/// For each claim size, compares the promise with the result of a refresh.
#[track_caller]
fn assert_keeps_its_word(make: impl Fn() -> (Segment<u64>, ProducerCore<u64>)) {
    for n in (1..=CAPACITY + 1).step_by(ONE_IN) {
        let (_segment, mut core) = make();
        let (is_promised, slots) = (core.is_obtainable(n), core.obtainable_slots(n));
        assert_eq!(core.refresh(n), is_promised, "{n} slots of {slots}");
        assert_eq!(slots >= n, is_promised, "{n} slots of {slots}");
    }
}

#[test]
fn a_buffer_that_takes_no_more_is_not_obtainable() {
    for published in 0..=2 {
        assert_keeps_its_word(|| {
            let segment = segment();
            let mut expectation = Expectation::new(Vec::new(), true);
            expectation.buffer_until(1);
            let mut core = producer(&segment, expectation);
            publish(&mut core, published);
            (segment, core)
        });
    }
}

/// A joiner in state SETTLING has stored the floor that it read first: the gate stays there until the joiner
/// reads the floor again. A successor's gate starts below the floor.
#[test]
fn a_joiner_below_the_floor_keeps_the_gate_where_it_is() {
    for below in (11..20).step_by(ONE_IN) {
        assert_keeps_its_word(|| {
            let segment = segment();
            place(&segment, 0, LineState::Settling, below);
            let core = ProducerCore::new(segment.view, 20, 15, Expectation::default());
            (segment, core)
        });
    }
}

#[test]
fn what_is_obtainable_is_what_a_refresh_gives_in_any_ring() {
    for expects in [false, true] {
        let places = (-1..6).flat_map(|slow| (slow..6).map(move |fast| (slow, fast)));
        for (slow, fast) in places.step_by(ONE_IN) {
            assert_keeps_its_word(|| {
                let segment = segment();
                place(&segment, 0, LineState::Active, slow);
                place(&segment, 1, LineState::Away, fast);
                let ids = match expects {
                    true => vec![ConsumerId::new("late").expect("an id")],
                    false => Vec::new(),
                };
                let mut core = producer(&segment, Expectation::new(ids, false));
                publish(&mut core, 7);
                (segment, core)
            });
        }
    }
}
