//! The common parts of all scenes: the ring, the ledgers of all processes that ever took part, and the judge.

use myelon_tests::checker::{self, Reader};
use myelon_tests::tracer::{Stepped, Traced};
use myelon_tests::{Actor, Ledger, Reply, World};

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");

/// The backing of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    SharedMemory,
    MappedFile,
}

/// A ring and its ledgers.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) capacity: i64,
    /// The planted fault, as a word in the victim's line; empty without one.
    pub(crate) wrong: &'static str,
    producers: Vec<String>,
    readers: Vec<(String, bool)>,
    ledgers: u64,
}

impl Stage {
    pub(crate) fn new(backend: Backend, capacity: i64, wrong: &'static str) -> Self {
        let world = match backend {
            Backend::SharedMemory => World::shared_memory(ACTOR),
            Backend::MappedFile => World::mapped_file(ACTOR),
        };
        Self {
            world,
            capacity,
            wrong,
            producers: Vec::new(),
            readers: Vec::new(),
            ledgers: 0,
        }
    }

    fn new_ledger(&mut self) -> (String, String) {
        self.ledgers += 1;
        let name = self.ledgers.to_string();
        let path = self.world.ledger(&name).display().to_string();
        (name, path)
    }

    /// The line that makes an actor the next producer.
    pub(crate) fn produce(&mut self) -> String {
        let (name, path) = self.new_ledger();
        self.producers.push(name);
        let (capacity, writer) = (self.capacity, self.ledgers);
        format!("produce cap={capacity} writer={writer} log={path}")
    }

    /// The line that attaches a new durable consumer, which must see every event that is acknowledged from then on.
    pub(crate) fn consume(&mut self, id: &str) -> String {
        let (name, path) = self.new_ledger();
        self.readers.push((name, false));
        format!("consume cap={} id={id} log={path}", self.capacity)
    }

    /// The line that attaches the newest durable consumer once more.
    pub(crate) fn consume_again(&self, id: &str) -> String {
        let (name, _) = self.readers.last().expect("a consumer");
        let path = self.world.ledger(name).display().to_string();
        format!("consume cap={} id={id} log={path}", self.capacity)
    }

    /// Checks that no acknowledged event is missing, and that events come twice only after a death.
    pub(crate) fn judge(&self) -> Result<(), String> {
        let read = |name: &String| Ledger::read(&self.world.ledger(name));
        let producers: Vec<_> = self.producers.iter().map(read).collect();
        let readers: Vec<_> = self
            .readers
            .iter()
            .map(|(name, _)| Reader {
                name: name.clone(),
                entries: read(name),
                redelivery: 1,
                unwritten: 0,
            })
            .collect();
        checker::check(&producers, &readers)
            .map(drop)
            .map_err(|faults| faults.join("; "))
    }

    /// Forgets all ledgers, because the ring has ended and a new one starts with new sequences.
    pub(crate) fn forget(&mut self) {
        self.producers.clear();
        self.readers.clear();
    }

    /// Removes the ring.
    pub(crate) fn clear(mut self) {
        let line = self.produce();
        let mut last = self.world.actor();
        last.ok(&line);
        last.ok("destroy");
    }
}

/// Sends the victim the line whose section is executed step by step, and kills it after `n` steps of that section.
pub(crate) fn kill_within(mut victim: Actor, line: &str, n: u64) -> Result<Stepped, String> {
    let mut traced = Traced::seize(&mut victim);
    let stepped = traced.reach_marker(line).and_then(|()| traced.step(n));
    traced.kill();
    stepped
}

/// Returns an error unless `is_so`.
pub(crate) fn require(is_so: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    match is_so {
        true => Ok(()),
        false => Err(what()),
    }
}

/// The position of a durable consumer in the ring's state.
pub(crate) fn position_of(state: &Reply, id: &str) -> Option<i64> {
    let (_, list) = state.text().split_once("consumers=")?;
    list.split(',').find_map(|entry| {
        let (name, sequence) = entry.rsplit_once(':')?;
        (name == id).then(|| sequence.trim().parse().expect("a sequence"))
    })
}
