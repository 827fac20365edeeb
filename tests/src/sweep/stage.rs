//! The stage of a case: a ring, its producer, its readers, the process that is struck, and the ledgers of all of them.

use super::{CAPACITY, Case, Flaw};
use crate::{Actor, Reply, World};

mod blow;
mod verdict;

pub(crate) use blow::Aimed;

/// The deadline of calls that must succeed: 30 s.
pub(crate) const SOON: &str = "ms=30000";

/// Long enough for two liveness checks of the producer, at [`INTERVAL_MS`].
pub(crate) const TWO_CHECKS: &str = "ms=15";

/// The liveness interval of calls that wait. Scenes whose sleepers must be woken use a longer one.
const INTERVAL_MS: u64 = 5;

/// Events that are published and read by all readers before anything else, so that the ring has wrapped.
const BEFORE: i64 = CAPACITY + 5;

/// A reader, over all its lives.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) name: String,
    pub(crate) is_durable: bool,
    pub(crate) actor: Option<Actor>,
    /// The next event that it must see.
    pub(crate) next: i64,
    /// See [`Reader`](crate::checker::Reader).
    pub(crate) redelivery: i64,
    pub(crate) unwritten: i64,
    /// Whether it has given up its position, or lost it because it is automatic.
    pub(crate) is_gone: bool,
    ring: usize,
}

#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) case: Case,
    pub(crate) world: World,
    pub(crate) tx: Option<Actor>,
    pub(crate) seats: Vec<Seat>,
    /// The last event that was published, as far as the scenario knows.
    pub(crate) last: i64,
    pub(crate) capacity: i64,
    /// Whether the other processes do nothing while the struck one is delayed. They would reach the point
    /// before it does.
    pub(crate) is_quiet: bool,
    /// The liveness intervals of producers and of readers.
    pub(crate) producer_interval_ms: u64,
    pub(crate) reader_interval_ms: u64,
    /// Whether the ring is created for observers, too.
    pub(crate) is_observed: bool,
    /// The ring of each writer.
    writers: Vec<usize>,
    /// How many rings had the name before this one.
    ring: usize,
}

impl Stage {
    pub(crate) fn new(program: &str, case: Case) -> Self {
        Self {
            case,
            world: case.backing.world(program),
            tx: None,
            seats: Vec::new(),
            last: -1,
            capacity: CAPACITY,
            is_quiet: false,
            producer_interval_ms: INTERVAL_MS,
            reader_interval_ms: INTERVAL_MS,
            is_observed: false,
            writers: Vec::new(),
            ring: 0,
        }
    }

    /// Starts a producer, two durable readers and an automatic one, which have all seen the same events. Then
    /// publishes `unread` more.
    pub(crate) fn open(&mut self, unread: i64) {
        self.succeed();
        for (name, is_durable) in [("left", true), ("right", true), ("guest", false)] {
            self.seat(name, is_durable);
        }
        self.attach_all();
        self.publish_and_read(BEFORE);
        self.publish(unread);
    }

    /// Like [`open`](Self::open), but where the role is a successor's, another producer has taken over.
    pub(crate) fn open_for_role(&mut self, unread: i64) {
        self.open(unread);
        if self.case.row.role.ends_with("successor") {
            self.kill_producer();
            self.succeed();
        }
    }

    /// Records that the name refers to a new ring from now on.
    pub(crate) fn new_ring(&mut self) {
        self.ring += 1;
        self.last = -1;
    }

    // the producer

    /// The line that starts a producer with a ledger.
    pub(crate) fn produce_line(&mut self, how: &str) -> String {
        self.writers.push(self.ring);
        let writer = self.writers.len();
        let log = self.world.ledger(&format!("writer-{writer}"));
        let flaw = match self.case.flaw {
            Some(Flaw::OtherPayload) => "wrong=payload",
            _ => "",
        };
        let observers = if self.is_observed { "observers" } else { "" };
        let (capacity, interval) = (self.capacity, self.producer_interval_ms);
        format!(
            "produce cap={capacity} strategy=block interval_ms={interval} log={} writer={writer} {observers} {flaw} {how}",
            log.display()
        )
    }

    /// Starts another producer, which must continue where the last one ended.
    pub(crate) fn succeed(&mut self) {
        let mut tx = self.world.actor();
        let line = self.produce_line("");
        let next = tx.ok(&line).number("next");
        assert_eq!(next, self.last + 1, "where the successor goes on");
        self.tx = Some(tx);
    }

    /// Starts a producer beside the others for a moment. Returns the error that it got, or "ok".
    pub(crate) fn rival(&mut self) -> String {
        let mut rival = self.world.actor();
        rival.tell(&format!("produce cap={}", self.capacity));
        let reply = rival.answer();
        reply.kind().unwrap_or("ok").to_owned()
    }

    pub(crate) fn producer(&mut self) -> &mut Actor {
        self.tx.as_mut().expect("a producer")
    }

    pub(crate) fn kill_producer(&mut self) {
        self.tx.take().expect("a producer").kill();
    }

    pub(crate) fn publish(&mut self, n: i64) {
        if n > 0 {
            let line = format!("publish n={n} {SOON}");
            self.last = self.producer().ok(&line).number("last");
        }
    }

    /// Publishes `n` events, while every reader reads up to the last of them.
    pub(crate) fn publish_and_read(&mut self, n: i64) {
        let last = self.last + n;
        self.producer().tell(&format!("publish n={n} {SOON}"));
        self.read_to(last);
        self.last = self.producer().expect_ok().number("last");
        assert_eq!(self.last, last);
    }

    // the readers

    /// Adds a seat for a reader that has not attached yet.
    pub(crate) fn seat(&mut self, name: &str, is_durable: bool) -> usize {
        self.seats.push(Seat {
            name: name.to_owned(),
            is_durable,
            actor: None,
            next: -1,
            redelivery: 1,
            unwritten: 0,
            is_gone: false,
            ring: self.ring,
        });
        self.seats.len() - 1
    }

    /// The index of the seat of this name.
    pub(crate) fn find(&self, name: &str) -> usize {
        let is_it = |seat: &Seat| seat.name == name && seat.ring == self.ring;
        self.seats
            .iter()
            .position(is_it)
            .expect("a seat of this name")
    }

    pub(crate) fn consume_line(&self, seat: usize, how: &str) -> String {
        let Seat {
            name,
            is_durable,
            ring,
            ..
        } = &self.seats[seat];
        let log = self.world.ledger(&format!("{ring}-{name}"));
        let id = if *is_durable {
            format!("id={name}")
        } else {
            String::new()
        };
        let flaw = match self.case.flaw {
            Some(Flaw::LateLedger) => "wrong=late",
            Some(Flaw::SkippedEvent) if name == "left" && !self.is_observed => "wrong=skip",
            _ => "",
        };
        format!(
            "consume cap={} strategy=block interval_ms={} {id} log={} {flaw} {how}",
            self.capacity,
            self.reader_interval_ms,
            log.display()
        )
    }

    /// Attaches every reader of this ring that is away or has not come yet.
    pub(crate) fn attach_all(&mut self) {
        self.attach_all_but(usize::MAX);
    }

    /// The same, except for one reader that is about to attach.
    pub(crate) fn attach_all_but(&mut self, coming_itself: usize) {
        let mut coming = Vec::new();
        for index in (0..self.seats.len()).filter(|index| *index != coming_itself) {
            let seat = &self.seats[index];
            if seat.actor.is_some() || seat.is_gone || seat.ring != self.ring {
                continue;
            }
            let line = self.consume_line(index, "");
            let mut actor = self.world.actor();
            actor.tell(&line);
            coming.push((index, actor));
        }
        for (index, mut actor) in coming {
            let next = actor.expect_ok().number("next");
            self.take_seat(index, actor, next);
        }
    }

    /// A reader has attached. One that had been attached before must come back to its position.
    pub(crate) fn take_seat(&mut self, index: usize, actor: Actor, next: i64) {
        let seat = &mut self.seats[index];
        if seat.next >= 0 {
            assert_eq!(next, seat.next, "where {} comes back to", seat.name);
        }
        seat.next = next;
        seat.actor = Some(actor);
    }

    /// The seats whose readers are attached.
    fn present(&mut self) -> impl Iterator<Item = &mut Seat> {
        self.seats.iter_mut().filter(|seat| seat.actor.is_some())
    }

    /// Every attached reader reads up to this event.
    pub(crate) fn read_to(&mut self, last: i64) {
        for seat in self.present() {
            let n = last + 1 - seat.next;
            seat.tell(&format!("recv n={n} {SOON}"));
        }
        for seat in self.present() {
            seat.collect();
            assert_eq!(seat.next, last + 1, "{}", seat.name);
        }
    }

    /// Every attached reader reads until it gets this result.
    pub(crate) fn drain(&mut self, end: &str, patience: &str) {
        for seat in self.present() {
            seat.tell(&format!("drain {patience}"));
        }
        for seat in self.present() {
            let reply = seat.collect();
            assert_eq!(reply.word("end"), end, "{}: {}", seat.name, reply.text());
        }
    }

    /// Every attached reader reads everything, and then gets this result.
    pub(crate) fn drain_all(&mut self, end: &str) {
        self.drain(end, SOON);
        let last = self.last;
        for seat in self.present() {
            assert_eq!(seat.next, last + 1, "where {} stands", seat.name);
        }
    }

    /// Publishes one event. No event that a dead producer left may appear after it.
    pub(crate) fn one_and_no_more(&mut self) {
        self.publish(1);
        self.drain("Timeout", TWO_CHECKS);
        let last = self.last;
        for seat in self.present() {
            assert_eq!(
                seat.next,
                last + 1,
                "what {} saw behind the successor",
                seat.name
            );
        }
    }

    /// A reader leaves, and gives up its position.
    pub(crate) fn dismiss(&mut self, name: &str) {
        let index = self.find(name);
        let seat = &mut self.seats[index];
        seat.actor.take().expect("a reader").ok("leave");
        seat.is_gone = true;
    }
}

impl Seat {
    pub(crate) fn tell(&mut self, line: &str) {
        self.actor.as_mut().expect("a reader").tell(line);
    }

    /// The answer to a receiving call.
    pub(crate) fn collect(&mut self) -> Reply {
        let reply = self.actor.as_mut().expect("a reader").expect_ok();
        self.note(&reply);
        reply
    }

    pub(crate) fn note(&mut self, reply: &Reply) {
        if reply.number("count") > 0 {
            assert_eq!(reply.number("first"), self.next, "{}", self.name);
            self.next = reply.number("last") + 1;
        }
    }
}
