//! A storm over messages. A producer and consumers that receive in each form are killed and stopped at random
//! while messages of all sizes flow, some of them longer than the ring. At the end the ledgers are judged.
//!
//! A round is one ring from its creation to its end. The round's seed decides which process is killed or
//! stopped and how; the system decides at which instruction the signal arrives.

use super::judge::{self, How, Reader, Summary};
use crate::{Actor, Ledger, World};

/// The fault that is planted in a round, for the controls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// No fault.
    Nothing,
    /// The producer acknowledges before it sends.
    Early,
    /// The consumer that leases releases a message before it writes it down.
    Late,
}

/// Totals of a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Processes killed.
    pub kills: u64,
    /// Processes stopped.
    pub stops: u64,
    /// What the judge counted.
    pub judged: Summary,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.kills += other.kills;
        self.stops += other.stops;
        self.judged += other.judged;
    }
}

/// Kills and stops in a round.
const DEEDS: usize = 16;

/// Plays the round of this seed with framers of `program`.
///
/// # Errors
///
/// The faults that the judge found.
///
/// # Panics
///
/// When a process answers with an unexpected error, or not in time.
pub fn play(program: &str, seed: u64, wrong: Wrong) -> Result<Count, String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let world = match random.bool() {
        true => World::shared_memory(program),
        false => World::mapped_file(program),
    };
    let mut round = Round {
        world: &world,
        depth: [1, 2, 8, 64][random.usize(..4)],
        strategy: ["yield", "sleep", "block"][random.usize(..3)],
        wrong,
        random,
        writers: 0,
        producer: world.actor(),
        consumers: Vec::new(),
        count: Count::default(),
    };
    round.begin();
    for _ in 0..DEEDS {
        round.deed();
    }
    round.end()
}

struct Round<'a> {
    world: &'a World,
    depth: usize,
    strategy: &'static str,
    wrong: Wrong,
    random: fastrand::Rng,
    writers: u64,
    producer: Actor,
    /// One consumer for each form of receiving.
    consumers: Vec<(How, Actor)>,
    count: Count,
}

impl Round<'_> {
    fn begin(&mut self) {
        self.produce();
        for how in How::ALL {
            let consumer = self.consume(how);
            self.consumers.push((how, consumer));
        }
        self.pour();
    }

    /// The producer's place is empty; the actor in `producer` takes it.
    fn produce(&mut self) {
        self.writers += 1;
        let log = self.world.ledger(&format!("writer-{}", self.writers));
        let wrong = match self.wrong {
            Wrong::Early => "wrong",
            _ => "",
        };
        let line = format!(
            "produce cap={} writer={} strategy={} log={} {wrong}",
            self.depth,
            self.writers,
            self.strategy,
            log.display()
        );
        self.producer.ok(&line);
    }

    fn pour(&mut self) {
        let line = format!("pour seed={}", self.random.u64(..) >> 1);
        self.producer.ok(&line);
    }

    /// Starts a consumer, or the successor of one that died, and lets it follow the stream.
    fn consume(&mut self, how: How) -> Actor {
        let mut actor = self.world.actor();
        let wrong = match (self.wrong, how) {
            (Wrong::Late, How::Leases) => "wrong",
            _ => "",
        };
        let word = how.word();
        let log = self.world.ledger(word);
        actor.ok(&format!(
            "consume cap={} id={word} strategy={} log={} {wrong}",
            self.depth,
            self.strategy,
            log.display()
        ));
        actor.ok(&format!("follow how={word}"));
        actor
    }

    fn pass(&mut self) {
        crate::storm::pass(crate::storm::delay(&mut self.random));
    }

    /// Kills or stops a process that is chosen at random.
    fn deed(&mut self) {
        self.pass();
        let who = self.random.usize(..How::ALL.len());
        match self.random.u8(..10) {
            0..4 => self.kill_producer(),
            4..7 => self.kill_consumer(who),
            7 => {
                self.consumers[who].1.kill();
                self.kill_producer();
                self.kill_consumer(who);
            }
            8 => {
                self.producer.stop();
                self.count.stops += 1;
                self.pass();
                match self.random.bool() {
                    true => self.kill_producer(),
                    false => self.producer.resume(),
                }
            }
            _ => {
                self.consumers[who].1.stop();
                self.count.stops += 1;
                self.pass();
                match self.random.bool() {
                    true => self.kill_consumer(who),
                    false => self.consumers[who].1.resume(),
                }
            }
        }
    }

    fn kill_producer(&mut self) {
        self.producer.kill();
        self.count.kills += 1;
        self.producer = self.world.actor();
        self.produce();
        self.pour();
    }

    fn kill_consumer(&mut self, who: usize) {
        let (how, actor) = &mut self.consumers[who];
        let how = *how;
        actor.kill();
        self.count.kills += 1;
        self.pass();
        self.consumers[who].1 = self.consume(how);
    }

    /// Closes the ring, lets every consumer drain it, and judges all ledgers.
    fn end(mut self) -> Result<Count, String> {
        self.producer.tell("close");
        self.producer.expect_ok();
        self.producer.expect_ok();
        for (how, consumer) in &mut self.consumers {
            let end = consumer.expect_ok();
            assert_eq!(end.word("end"), "Closed", "{how:?}: {}", end.text());
            consumer.ok("drop-rx");
        }
        let read = |name: &str| Ledger::read(&self.world.ledger(name));
        let writers = (1..=self.writers).map(|writer| read(&format!("writer-{writer}")));
        let readers: Vec<_> = How::ALL
            .into_iter()
            .map(|how| Reader {
                name: format!("{how:?}"),
                how,
                entries: read(how.word()),
            })
            .collect();
        let producers: Vec<_> = writers.collect();
        self.count.judged = judge::judge(self.depth, &producers, &readers)?;
        match self.count.judged.messages {
            0 => Err(String::from("nothing was ever sent")),
            _ => Ok(self.count),
        }
    }
}
