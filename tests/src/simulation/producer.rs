//! A producer: it publishes and ends in every possible way, and takes over.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use disruptor_mp::{Deadline, Heap, MultiProcessError, Producer, Sequence, dst};

use super::payload::Payload;
use super::{World, consumer};

/// The payload of a panic that the simulation raises on purpose.
struct OnPurpose;

type Tx<E> = Producer<E, Heap>;

/// One life of producer `role`. It ends when the target is published and the ring is closed.
pub(super) fn live<E: Payload>(world: &World<E>, role: usize, life: u32) {
    let who = format!("producer{role}#{life}");
    let before = format!("producer{role}#{}", life.wrapping_sub(1));
    while !world.ledger.is_over(&before) {
        let Some((mut tx, term)) = attach_as(world, &who, &before) else {
            dst::sleep(Duration::from_micros(100 + dst::below(1_000) as u64));
            continue;
        };
        let mut wants_to_go_on = true;
        while wants_to_go_on && tx.last_published_sequence() < world.target {
            wants_to_go_on = publish(world, &mut tx);
        }
        end(world, tx, term);
    }
}

/// Attaches the ring's producer as `who`. There must be no other producer.
pub(super) fn attach<E: Payload>(world: &World<E>, who: &str) -> Tx<E> {
    world.ledger.begins_to_take_over(who);
    let tx = world.ring.producer().expect("a producer");
    world
        .ledger
        .took_over(who, "", tx.last_published_sequence());
    tx
}

/// Attaches a producer; returns `None` if there is another one.
fn attach_as<E: Payload>(world: &World<E>, who: &str, before: &str) -> Option<(Tx<E>, u32)> {
    let ledger = &world.ledger;
    ledger.begins_to_take_over(who);
    let builder = world.builder().with_discovery(world.discovery.clone());
    match builder.build_zeroed_producer() {
        Ok(tx) => {
            let term = ledger.took_over(who, before, tx.last_published_sequence());
            Some((tx, term))
        }
        Err(MultiProcessError::AlreadyExists { .. }) => {
            ledger.was_refused(who);
            dst::reached("a second producer was refused");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Makes one call. Returns whether the producer continues.
fn publish<E: Payload>(world: &World<E>, tx: &mut Tx<E>) -> bool {
    let ledger = &world.ledger;
    let next = tx.last_published_sequence() + 1;
    let size = 1 + dst::below(world.capacity);
    let soon = Deadline::after(Duration::from_micros(dst::below(3_000) as u64));
    let write = |event: &mut E| event.fill(next, ledger.attempt(next));
    let write_nth = |event: &mut E, index: usize| {
        let sequence = next + index as Sequence;
        event.fill(sequence, ledger.attempt(sequence));
    };
    let last = match dst::below(16) {
        0..3 => tx.try_publish(write).ok(),
        3..5 => tx.send(soon, write).ok(),
        5 => {
            tx.publish(write);
            Some(next)
        }
        6 => claim(tx, soon, write),
        7..9 => tx.try_batch_publish(size, write_nth).ok(),
        9..11 => tx.send_batch(size, soon, write_nth).ok(),
        11 => {
            batch_that_panics(tx, size, write_nth);
            None
        }
        12 => {
            remove_somebody(world, tx);
            None
        }
        13 => {
            dst::sleep(Duration::from_micros(dst::below(2_000) as u64));
            None
        }
        14 => {
            let state = tx.ring_state();
            assert!(state.floor <= state.published, "{state:?}");
            let _ = tx.blocked_on();
            None
        }
        _ => return !dst::buggify("producer.drops_out"),
    };
    if let Some(last) = last {
        ledger.acknowledge(next, last);
    }
    true
}

/// Writes a claim, and then publishes or drops it.
fn claim<E: Payload>(
    tx: &mut Tx<E>,
    soon: Deadline,
    write: impl FnOnce(&mut E),
) -> Option<Sequence> {
    let mut claim = tx.claim(soon).ok()?;
    write(&mut claim);
    (dst::below(3) > 0).then(|| claim.publish())
}

/// A batch whose writer panics. It must not publish anything, whatever the writer did.
fn batch_that_panics<E: Payload>(
    tx: &mut Tx<E>,
    size: usize,
    mut write: impl FnMut(&mut E, usize),
) {
    let fails_at = dst::below(size);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        tx.try_batch_publish(size, |event, index| {
            write(event, index);
            if index == fails_at {
                resume_unwind(Box::new(OnPurpose));
            }
        })
    }));
    expect_on_purpose(outcome.err());
}

/// Raises a panic again, unless it was raised on purpose.
pub(super) fn expect_on_purpose(thrown: Option<Box<dyn std::any::Any + Send>>) {
    if let Some(thrown) = thrown.filter(|thrown| !thrown.is::<OnPurpose>()) {
        resume_unwind(thrown);
    }
}

/// Unwinds with a payload that [`expect_on_purpose`] accepts.
pub(super) fn unwind_on_purpose() -> ! {
    resume_unwind(Box::new(OnPurpose))
}

fn remove_somebody<E: Payload>(world: &World<E>, tx: &mut Tx<E>) {
    let id = consumer::id(dst::below(consumer::ROLES));
    world.ledger.begins_to_forget(&id);
    let removed = tx.remove_consumer(&id).is_ok();
    world.ledger.ends_forgetting(&id, removed);
    if removed {
        dst::note(format_args!("removed {id}"));
        dst::reached("a durable consumer was removed");
    }
}

/// Ends the producer in good order, or as if it had died.
fn end<E: Payload>(world: &World<E>, tx: Tx<E>, term: u32) {
    let is_complete = tx.last_published_sequence() >= world.target;
    if is_complete {
        world.ledger.reaches_target();
    }
    match dst::below(if is_complete { 4 } else { 5 }) {
        0 => drop(tx.close().expect("a good end")),
        1 => tx.keep().expect("a good end"),
        2 => tx.destroy().expect("a good end"),
        3 => drop(tx),
        _ => {
            let unwinds = catch_unwind(AssertUnwindSafe(|| {
                let _tx = tx;
                unwind_on_purpose();
            }));
            return expect_on_purpose(unwinds.err());
        }
    }
    if is_complete {
        world.ledger.is_closed(term);
    } else {
        dst::reached("a producer came after a good end");
    }
}
