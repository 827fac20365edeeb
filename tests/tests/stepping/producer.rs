//! The producer as the victim: it publishes, refreshes its gate, takes over, evicts and closes.

use myelon_tests::stepping::{Case, Scene};
use myelon_tests::tracer::Stepped;
use myelon_tests::{Actor, Reply};

use crate::stage::{Stage, kill_within, require};

const READER: &str = "reader";

/// Drains the ring and returns how many events came. The end must be `end`.
fn drain(reader: &mut Actor, end: &str) -> Result<i64, String> {
    let seen = reader.ok("drain");
    require(seen.word("end") == end, || seen.text().to_owned())?;
    Ok(seen.number("count"))
}

/// A durable reader of a ring whose producer is dead.
fn reader_of_the_dead(stage: &mut Stage) -> Actor {
    let mut reader = stage.world.actor();
    let mut creator = stage.world.actor();
    creator.ok(&stage.produce());
    reader.ok(&stage.consume(READER));
    creator.kill();
    reader
}

/// A publication of one event or of several, with a free slot or after a refresh of the gate.
pub(crate) struct Publication {
    stage: Stage,
    reader: Actor,
    /// How many events the victim publishes before its section.
    before: i64,
    len: i64,
}

impl Publication {
    pub(crate) fn new(mut stage: Stage, before: i64, len: i64) -> Self {
        let reader = reader_of_the_dead(&mut stage);
        Self {
            stage,
            reader,
            before,
            len,
        }
    }
}

impl Scene for Publication {
    fn case(&mut self, n: u64) -> Result<Case, String> {
        let Self {
            stage,
            reader,
            before,
            len,
        } = self;
        let mut victim = stage.world.actor();
        victim.ok(&stage.produce());
        victim.ok(&format!("publish n={before}"));
        reader.ok(&format!("recv n={before}"));
        let wrong = stage.wrong;
        let line = match *len {
            1 => format!("step-send {wrong}"),
            len => format!("step-batch n={len} {wrong}"),
        };
        let floor = reader.ok("state").number("floor");
        let stepped = kill_within(victim, &line, n)?;
        let moved = reader.ok("state").number("floor") - floor;
        let seen = drain(reader, "ProducerDead")?;
        require(seen == 0 || seen == *len, || {
            format!("{seen} of {len} events were seen")
        })?;
        require(seen > 0 || stepped == Stepped::Within, || {
            String::from("the call returned, but its event is not there")
        })?;
        stage.judge()?;
        let outcome = format!("floor +{moved}, {seen} seen");
        Ok(Case { stepped, outcome })
    }

    fn end(self: Box<Self>) {
        self.stage.clear();
    }
}

/// A takeover from a producer that died in the middle of a batch.
pub(crate) struct Takeover {
    stage: Stage,
    reader: Actor,
    next: i64,
}

impl Takeover {
    pub(crate) fn new(mut stage: Stage) -> Self {
        let reader = reader_of_the_dead(&mut stage);
        let mut scene = Self {
            stage,
            reader,
            next: 0,
        };
        scene.succeed().expect("the first successor");
        scene
    }

    /// A successor takes over completely, publishes, and dies at the end of a batch, before the batch is readable.
    fn succeed(&mut self) -> Result<(), String> {
        let mut successor = self.stage.world.actor_with("batch.stamped:1:kill");
        let next = successor.ok(&self.stage.produce()).number("next");
        require(next == self.next, || {
            format!("it goes on at {next}, not at {}", self.next)
        })?;
        successor.ok("publish n=3");
        self.reader.ok("recv n=3").require_count(3)?;
        self.next += 3;
        successor.tell("batch n=5");
        successor.wait_until_dead();
        self.stage.judge()
    }
}

impl Scene for Takeover {
    fn case(&mut self, n: u64) -> Result<Case, String> {
        let line = format!("{} step", self.stage.produce());
        let victim = self.stage.world.actor_with("takeover.locked:1:trap");
        let epoch = self.reader.ok("state").number("epoch");
        let stepped = kill_within(victim, &line, n)?;
        let raised = self.reader.ok("state").number("epoch") - epoch;
        let seen = drain(&mut self.reader, "ProducerDead")?;
        require(seen == 0, || format!("{seen} events out of nothing"))?;
        self.succeed()?;
        let outcome = format!("epoch +{raised}");
        Ok(Case { stepped, outcome })
    }

    fn end(self: Box<Self>) {
        self.stage.clear();
    }
}

/// The eviction of a dead automatic consumer by a producer that it blocks.
pub(crate) struct Eviction {
    stage: Stage,
    reader: Actor,
}

impl Eviction {
    pub(crate) fn new(mut stage: Stage) -> Self {
        let reader = reader_of_the_dead(&mut stage);
        Self { stage, reader }
    }
}

impl Scene for Eviction {
    fn case(&mut self, n: u64) -> Result<Case, String> {
        let Self { stage, reader } = self;
        let capacity = stage.capacity;
        let mut victim = stage.world.actor_with("evict.locked:1:trap");
        victim.ok(&stage.produce());
        let mut guest = stage.world.actor();
        guest.ok(&format!("consume cap={capacity}"));
        guest.kill();
        let registered = consumers(&reader.ok("state"));
        require(registered == 2, || format!("{registered} consumers"))?;
        // from then on only the guest holds the ring
        let count = victim.ok("fill").number("count");
        reader.ok(&format!("recv n={count}")).require_count(count)?;
        let stepped = kill_within(victim, "step-send from=point", n)?;
        let left = consumers(&reader.ok("state"));
        let seen = drain(reader, "ProducerDead")?;
        // nothing that the victim left of the guest may hold the ring
        let mut helper = stage.world.actor();
        helper.ok(&stage.produce());
        helper.tell(&format!("publish n={}", 2 * capacity));
        reader.ok(&format!("recv n={}", 2 * capacity));
        helper.expect_ok();
        helper.kill();
        stage.judge()?;
        let outcome = format!("{left} registered, {seen} seen");
        Ok(Case { stepped, outcome })
    }

    fn end(self: Box<Self>) {
        self.stage.clear();
    }
}

fn consumers(state: &Reply) -> usize {
    let list = state.text().split_once("consumers=");
    list.map_or(0, |(_, list)| {
        list.split(',')
            .filter(|entry| !entry.trim().is_empty())
            .count()
    })
}

/// The end of a ring in which a durable consumer has unread events.
pub(crate) struct Close {
    stage: Stage,
    reader: Actor,
}

impl Close {
    pub(crate) fn new(stage: Stage) -> Self {
        let reader = stage.world.actor();
        Self { stage, reader }
    }
}

impl Scene for Close {
    fn case(&mut self, n: u64) -> Result<Case, String> {
        let Self { stage, reader } = self;
        let mut victim = stage.world.actor();
        victim.ok(&stage.produce());
        reader.ok(&stage.consume(READER));
        victim.ok("publish n=2");
        let stepped = kill_within(victim, "step-close", n)?;
        let seen = reader.ok("drain");
        seen.require_count(2)?;
        let end = seen.word("end").to_owned();
        let named = stage.world.is_named();
        match (end.as_str(), named) {
            ("Closed", false) => {}
            ("ProducerDead", true) => {
                let mut successor = stage.world.actor();
                let next = successor.ok(&stage.produce()).number("next");
                require(next == 2, || format!("the successor goes on at {next}"))?;
                successor.ok("publish n=1");
                successor.ok("close");
                let rest = reader.ok("drain");
                rest.require_count(1)?;
                require(rest.word("end") == "Closed", || rest.text().to_owned())?;
            }
            other => return Err(format!("the end and the name: {other:?}")),
        }
        require(end == "Closed" || stepped == Stepped::Within, || {
            String::from("the call returned, but the ring is not closed")
        })?;
        reader.ok("drop-rx");
        require(stage.world.leftovers().is_empty(), || {
            format!("{:?} is left", stage.world.leftovers())
        })?;
        stage.judge()?;
        stage.forget();
        Ok(Case {
            stepped,
            outcome: end,
        })
    }

    fn end(self: Box<Self>) {}
}

/// A check of an answer's count that returns an error instead of panicking, so that the case's number can be reported.
pub(crate) trait Counted {
    fn require_count(&self, count: i64) -> Result<(), String>;
}

impl Counted for Reply {
    fn require_count(&self, count: i64) -> Result<(), String> {
        require(self.number("count") == count, || {
            format!("{count} events were due: {}", self.text())
        })
    }
}
