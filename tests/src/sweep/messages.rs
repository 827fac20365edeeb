//! The sweep over messages. A process that sends or receives a message is killed or stopped at every step of
//! publishing and of receiving. The messages have one frame, one run or two runs of frames, or are longer than
//! the ring.
//!
//! Two durable consumers read along. Then a successor starts, or the consumer comes back; three more messages
//! are sent, and the ring ends. The stage counts the messages that were cut off, and the [judge] reads the
//! ledgers.

use super::stage::SOON;
use super::{Action, Backing, Case, Row};
use crate::checker::Summary;
use crate::frames::judge::{self, How, Reader};
use crate::frames::{FRAME_BYTES, frames_of};
use crate::{Actor, Ledger, World};

/// Frames in the ring.
const DEPTH: usize = 16;
/// Frames that are published together.
const RUN: usize = DEPTH / 2;
/// The lengths of messages: one frame, one run, two runs, longer than the ring.
const LENS: [usize; 4] = [40, RUN * FRAME_BYTES, 12 * FRAME_BYTES, 40 * FRAME_BYTES];
/// A lower bound on the number of cases, so that the sweep cannot shrink unnoticed.
pub const CASES_MIN: usize = 500;

/// The process that is killed or stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    Producer,
    Consumer(How),
}

impl Victim {
    /// The word for it in the name of a case.
    fn role(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Consumer(how) => how.word(),
        }
    }
}

/// Every case.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for len in LENS {
        let mut add = |victim: Victim, point, times: Vec<usize>| {
            let row = Row::of_messages(point, victim.role(), victim);
            for nth in times {
                for backing in Backing::ALL {
                    for action in [Action::Kill, Action::Stop] {
                        cases.push(Case {
                            row,
                            backing,
                            in_flight: len as i64,
                            nth: nth as i64,
                            action,
                            flaw: None,
                        });
                    }
                }
            }
        };
        for point in ["publish.written", "publish.stamped"] {
            add(Victim::Producer, point, (1..=runs(len)).collect());
        }
        if frames_of(len) > 1 {
            for point in ["batch.claimed", "batch.stamped", "batch.published"] {
                add(Victim::Producer, point, (1..=runs(len)).collect());
            }
            add(Victim::Producer, "batch.written", writes(len));
        }
        for how in How::ALL {
            let is_spilled = frames_of(len) > DEPTH;
            let commits = match how {
                // a batch releases everything that it has at once
                How::Batches if is_spilled => frames_of(len),
                How::Batches => 1,
                _ if is_spilled => frames_of(len) + 2,
                _ => 3,
            };
            for point in ["commit.before", "commit.after"] {
                add(Victim::Consumer(how), point, some(commits));
            }
            // a message of one frame is lent; one that does not fit into the ring is copied out
            let is_held = frames_of(len) > 1 && !is_spilled;
            let held = if is_held { frames_of(len) } else { 0 };
            add(Victim::Consumer(how), "hold.kept", some(held));
        }
    }
    cases
}

/// How many runs of frames it takes to publish a message.
fn runs(len: usize) -> usize {
    frames_of(len).div_ceil(RUN)
}

/// The first, second, middle and last of `count` occurrences.
fn some(count: usize) -> Vec<usize> {
    let mut some = vec![1, 2, count / 2, count];
    some.retain(|nth| (1..=count).contains(nth));
    some.sort_unstable();
    some.dedup();
    some
}

/// After which writes a producer is killed or stopped: the first and the last of each run. A run's first frame
/// is written separately.
fn writes(len: usize) -> Vec<usize> {
    let mut times = Vec::new();
    let mut before = 0;
    for run in 0..runs(len) {
        let frames = (frames_of(len) - run * RUN).min(RUN);
        times.extend([before + 1, before + frames - 1]);
        before += frames - 1;
    }
    times.dedup();
    times
}

/// How many of the message's frames were published when its producer was killed or stopped.
fn published(case: Case) -> usize {
    let nth = case.nth as usize;
    let runs = match case.row.point {
        "publish.stamped" | "batch.published" => nth,
        // the run that the write belongs to
        "batch.written" => (nth - 1) / (RUN - 1),
        _ => nth - 1,
    };
    (runs * RUN).min(frames_of(len(case)))
}

/// The length of the case's message, in bytes.
fn len(case: Case) -> usize {
    case.in_flight as usize
}

/// Plays a case.
pub(super) fn play(program: &str, case: Case, victim: Victim) -> Result<Summary, String> {
    let world = case.backing.world(program);
    let mut stage = Stage::open(&world, case, victim);
    match victim {
        Victim::Producer => stage.strike_producer(),
        Victim::Consumer(how) => stage.strike_consumer(how),
    }
    stage.judge()
}

struct Stage<'a> {
    world: &'a World,
    case: Case,
    victim: Victim,
    writers: usize,
    producer: Actor,
    /// The last one is not killed or stopped; it only reads along.
    consumers: Vec<(How, Actor)>,
    /// How many messages are known to be cut off.
    truncated: i64,
}

impl<'a> Stage<'a> {
    /// Starts a producer that has sent one message, and two consumers that have seen it. The first consumer
    /// waits for a command.
    fn open(world: &'a World, case: Case, victim: Victim) -> Self {
        let mut stage = Self {
            world,
            case,
            victim,
            writers: 0,
            producer: world.actor(),
            consumers: Vec::new(),
            truncated: 0,
        };
        stage.produce();
        let how = match victim {
            Victim::Producer => How::Buffer,
            Victim::Consumer(how) => how,
        };
        for how in [how, How::Leases] {
            let consumer = stage.consume(stage.consumers.len());
            stage.consumers.push((how, consumer));
        }
        stage
            .producer
            .ok(&format!("message-send len={} {SOON}", LENS[0]));
        for (how, consumer) in &mut stage.consumers {
            consumer.ok(&format!("message-recv n=1 how={} {SOON}", how.word()));
        }
        stage
    }

    fn produce(&mut self) -> i64 {
        self.writers += 1;
        let log = self.world.ledger(&format!("writer-{}", self.writers));
        let line = format!(
            "message-produce cap={DEPTH} interval_ms=5 strategy=block writer={} log={}",
            self.writers,
            log.display()
        );
        self.producer.ok(&line).number("next")
    }

    fn consume(&self, index: usize) -> Actor {
        let mut actor = self.world.actor();
        let log = self.world.ledger(&format!("reader-{index}"));
        actor.ok(&format!(
            "message-consume cap={DEPTH} interval_ms=5 strategy=block id=reader-{index} log={}",
            log.display()
        ));
        actor
    }

    fn follow(&mut self, index: usize) {
        let (how, consumer) = &mut self.consumers[index];
        consumer.ok(&format!("message-follow how={}", how.word()));
    }

    /// Kills or stops the producer in the middle of the message, while consumers wait for it.
    fn strike_producer(&mut self) {
        (0..self.consumers.len()).for_each(|index| self.follow(index));
        let case = self.case;
        let frames = frames_of(len(case));
        self.producer.ok(&format!("arm at={}", case.arming()));
        self.producer
            .tell(&format!("message-send len={} {SOON}", len(case)));
        if case.action == Action::Kill {
            self.producer.expect_killed().expect("killed at the point");
            let published = published(case);
            self.truncated = i64::from(published > 0 && published < frames);
            self.producer = self.world.actor();
            let next = self.produce();
            assert_eq!(next, 1 + published as i64, "where the successor goes on");
        } else {
            self.producer
                .expect_stopped()
                .expect("stopped at the point");
            let mut rival = self.world.actor();
            let log = self.world.ledger("rival");
            let line = format!(
                "message-produce cap={DEPTH} writer=99 log={}",
                log.display()
            );
            rival.err("AlreadyExists", &line);
            self.producer.resume();
            assert_eq!(self.producer.expect_ok().number("last"), frames as i64);
        }
        for len in LENS {
            self.producer.ok(&format!("message-send len={len} {SOON}"));
        }
    }

    /// Kills or stops a consumer in the middle of the message; a killed one comes back.
    fn strike_consumer(&mut self, how: How) {
        self.follow(1);
        let case = self.case;
        let sent = [LENS[0], len(case), LENS[0]];
        let (_, victim) = &mut self.consumers[0];
        victim.ok(&format!("arm at={}", case.arming()));
        for len in sent {
            self.producer
                .tell(&format!("message-send len={len} {SOON}"));
        }
        // a batch receives everything that is published, so all messages must have been sent
        let waited_for = match how == How::Batches && frames_of(len(case)) <= RUN {
            true => sent.len(),
            false => 0,
        };
        (0..waited_for).for_each(|_| drop(self.producer.expect_ok()));
        victim.tell(&format!("message-recv n=3 how={} {SOON}", how.word()));
        if case.action == Action::Kill {
            victim.expect_killed().expect("killed at the point");
            self.consumers[0].1 = self.consume(0);
        } else {
            victim.expect_stopped().expect("stopped at the point");
            victim.resume();
            assert_eq!(victim.expect_ok().word("end"), "Enough");
        }
        self.follow(0);
        (waited_for..sent.len()).for_each(|_| drop(self.producer.expect_ok()));
        for len in LENS {
            self.producer.ok(&format!("message-send len={len} {SOON}"));
        }
    }

    /// Ends the ring and judges all ledgers.
    fn judge(mut self) -> Result<Summary, String> {
        self.producer.ok("message-close");
        let is_producer = self.victim == Victim::Producer;
        for (index, (_, consumer)) in self.consumers.iter_mut().enumerate() {
            let end = consumer.expect_ok();
            assert_eq!(end.word("end"), "Closed", "{}", end.text());
            // a consumer that comes back may do so in the middle of a message
            let truncated = end.number("truncated");
            assert_eq!(truncated, self.truncated, "{index}: {}", end.text());
            assert!(!is_producer || end.number("orphans") == 0, "{}", end.text());
            consumer.ok("message-drop-rx");
        }
        assert!(!self.world.is_named(), "the name is gone");
        let read = |name: String| Ledger::read(&self.world.ledger(&name));
        let producers: Vec<_> = (1..=self.writers)
            .map(|writer| read(format!("writer-{writer}")))
            .collect();
        let readers: Vec<_> = (0..self.consumers.len())
            .map(|index| Reader {
                name: format!("reader-{index}"),
                how: self.consumers[index].0,
                entries: read(format!("reader-{index}")),
            })
            .collect();
        let summary = judge::judge(DEPTH, &producers, &readers)?;
        let is_kill = self.case.action == Action::Kill;
        let is_seen = published(self.case) == frames_of(len(self.case));
        let unsent = u64::from(is_producer && is_kill && !is_seen);
        match summary.unsent == unsent && (is_kill || (summary.repeated, summary.missed) == (0, 0))
        {
            true => Ok(summary),
            false => Err(format!("{summary:?}")),
        }
    }
}
