//! A consumer: it reads and ends in every possible way, and comes back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use disruptor_mp::{Consumer, Deadline, Heap, MultiProcessError, RecvError, Sequence, dst};

use super::World;
use super::payload::Payload;
use super::producer::{expect_on_purpose, unwind_on_purpose};

/// How many consumers there may be.
pub(super) const ROLES: usize = 4;

/// The kind of a consumer.
#[derive(Clone, Copy)]
pub(super) struct Habits {
    pub(super) role: usize,
    pub(super) is_durable: bool,
    /// Whether it comes back after a death.
    pub(super) stays: bool,
    /// Whether it attaches and detaches all the time.
    pub(super) visits: bool,
}

/// The id of durable consumer `role`.
pub(super) fn id(role: usize) -> String {
    format!("durable{role}")
}

/// One life of a consumer. It ends when the ring is closed for good and drained.
pub(super) fn live<E: Payload>(world: &World<E>, habits: Habits, life: u32) {
    if life > 0 && !habits.stays {
        return;
    }
    if !habits.visits && dst::below(2) == 0 {
        dst::sleep(Duration::from_micros(dst::below(4_000) as u64));
    }
    loop {
        let mut reader = Reader::attach(world, habits, life);
        match reader.read_on() {
            Ending::Drained => return,
            Ending::DropsOut => reader.detach(),
        }
    }
}

enum Ending {
    /// No further event will come.
    Drained,
    /// The consumer detaches for now.
    DropsOut,
}

struct Reader<'a, E: Payload> {
    world: &'a World<E>,
    habits: Habits,
    id: String,
    rx: Consumer<E, Heap>,
    /// The event that must come next.
    next: Sequence,
}

impl<'a, E: Payload> Reader<'a, E> {
    fn attach(world: &'a World<E>, habits: Habits, life: u32) -> Self {
        let id = id(habits.role);
        let rx = loop {
            let builder = match habits.is_durable {
                true => world.builder().with_consumer_id(&id),
                false => world.builder(),
            };
            match builder.build_consumer() {
                Ok(rx) => break rx,
                // a process that removes a consumer holds its id's lock for a moment
                Err(MultiProcessError::ConsumerAlreadyAttached { .. }) => {
                    dst::sleep(Duration::from_micros(100));
                }
                Err(error) => panic!("{error} in life {life}"),
            }
        };
        let next = rx.current_sequence() + 1;
        if habits.is_durable {
            let window = (world.capacity as i64 / 8).max(1);
            world.ledger.attached(&id, next, window);
        } else {
            dst::note(format_args!("starts at {next}"));
        }
        Self {
            world,
            habits,
            id,
            rx,
            next,
        }
    }

    fn read_on(&mut self) -> Ending {
        loop {
            let patience_us = if self.habits.visits { 100 } else { 3_000 };
            let soon = Deadline::after(Duration::from_micros(dst::below(patience_us) as u64));
            match dst::below(12) {
                0..2 => self.copy(),
                2..4 => self.lease(),
                4..6 => match self.receive(soon) {
                    Err(RecvError::Closed) if self.is_drained() => return Ending::Drained,
                    Err(RecvError::Closed | RecvError::Timeout) | Ok(()) => {}
                    Err(RecvError::ProducerDead { .. }) => {
                        dst::reached("a consumer was told of a dead producer");
                    }
                    Err(error) => panic!("{error}"),
                },
                6..8 => self.process(soon),
                8 => self.process_and_panic(),
                9 => dst::sleep(Duration::from_micros(dst::below(patience_us) as u64)),
                10 => self.try_to_be_two(),
                _ if dst::buggify("consumer.drops_out") => return Ending::DropsOut,
                _ => dst::point("consumer.idles"),
            }
            self.check_position();
            if self.habits.visits && dst::below(2) == 0 {
                return Ending::DropsOut;
            }
        }
    }

    fn is_drained(&self) -> bool {
        self.world.ledger.is_last(self.next - 1)
    }

    fn check_position(&self) {
        let position = self.rx.current_sequence();
        assert_eq!(position, self.next - 1, "{} lost its position", self.id);
        if self.habits.is_durable {
            self.world.ledger.released(&self.id, position);
        }
    }

    fn sees(&self, sequence: Sequence) {
        if self.habits.is_durable {
            self.world.ledger.sees(&self.id, sequence);
        }
    }

    fn copy(&mut self) {
        // a copy is released before the call returns: a consumer that dies in between has had the event
        self.sees(self.next);
        let copied = self.rx.try_consume_next();
        self.sees(self.next - 1);
        if let Some((sequence, event)) = copied {
            saw(
                self.world,
                &self.id,
                self.habits,
                self.next,
                sequence,
                &event,
            );
            self.next += 1;
        }
    }

    fn lease(&mut self) {
        let Some(lease) = self.rx.try_consume_next_leased() else {
            return;
        };
        saw(
            self.world,
            &self.id,
            self.habits,
            self.next,
            lease.sequence(),
            &*lease,
        );
        for _ in 0..dst::below(8) {
            dst::point("lease.held");
        }
        saw(
            self.world,
            &self.id,
            self.habits,
            self.next,
            lease.sequence(),
            &*lease,
        );
        match dst::below(5) {
            0 => return lease.release_uncommitted(),
            1 => return core::mem::forget(lease),
            2 => lease.commit(),
            _ => drop(lease),
        }
        self.next += 1;
    }

    fn receive(&mut self, soon: Deadline) -> Result<(), RecvError> {
        let lease = self.rx.recv(soon)?;
        saw(
            self.world,
            &self.id,
            self.habits,
            self.next,
            lease.sequence(),
            &*lease,
        );
        drop(lease);
        self.next += 1;
        Ok(())
    }

    fn process(&mut self, soon: Deadline) {
        let Self {
            world,
            habits,
            id,
            rx,
            next,
        } = self;
        let mut handle = |event: &E, sequence| {
            saw(world, id, *habits, *next, sequence, event);
            dst::point("event.handled");
            saw(world, id, *habits, *next, sequence, event);
            *next += 1;
        };
        match dst::below(2) {
            0 => drop(rx.process_available(handle)),
            _ => drop(rx.process_within(soon, |event, sequence, _| handle(event, sequence))),
        }
    }

    /// The call must have released every event before the one at which the handler panics.
    fn process_and_panic(&mut self) {
        let Self {
            world,
            habits,
            id,
            rx,
            next,
        } = self;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            rx.process_available(|event, sequence| {
                saw(world, id, *habits, *next, sequence, event);
                if dst::below(3) == 0 {
                    unwind_on_purpose();
                }
                *next += 1;
            })
        }));
        expect_on_purpose(outcome.err());
    }

    /// Tries to attach a durable id a second time, which must be refused.
    fn try_to_be_two(&mut self) {
        if self.habits.is_durable {
            let second = self
                .world
                .builder()
                .with_consumer_id(&self.id)
                .build_consumer();
            let is_refused = matches!(
                second,
                Err(MultiProcessError::ConsumerAlreadyAttached { .. })
            );
            assert!(is_refused, "{} is there twice", self.id);
            dst::reached("a second consumer of the same id was refused");
        }
    }

    /// Ends without a death, for now or for good.
    fn detach(self) {
        let Self {
            world,
            habits,
            id,
            rx,
            ..
        } = self;
        if !habits.is_durable {
            return rx.detach().expect("a good end");
        }
        match dst::below(if habits.visits { 2 } else { 4 }) {
            0 => {
                world.ledger.begins_to_forget(&id);
                rx.leave().expect("a good end");
                world.ledger.ends_forgetting(&id, true);
                dst::reached("a durable consumer left for good");
            }
            1 => {
                drop(rx);
                world.ledger.detached(&id);
            }
            _ => {
                rx.detach().expect("a good end");
                world.ledger.detached(&id);
            }
        }
    }
}

/// Asserts that the event is the one that must come next.
fn saw<E: Payload>(
    world: &World<E>,
    id: &str,
    habits: Habits,
    next: Sequence,
    sequence: Sequence,
    event: &E,
) {
    assert_eq!(sequence, next, "{id} reads out of order");
    world.ledger.saw(id, sequence, event);
    if habits.is_durable {
        world.ledger.sees(id, sequence);
    }
}
