//! Round trips with the default wait strategy when both sides may use two cores, when each has one core, when
//! they share one core, and when that changes while they run.

use std::time::{Duration, Instant};

use myelon::{Deadline, SharedConsumer, SharedProducer};

use super::party::{self, Order, Party};
use super::{CAPACITY, END, Event, LIVENESS_INTERVAL, Name, Pairs, Setting};
use crate::affinity::{self, Cores};
use crate::clock::monotonic_ns;
use crate::fault::{Fault, Round};
use crate::payload::{OfWords, fill, key_of};
use crate::report::comparison::{Row, Target};
use crate::scenario::Failure;
use crate::strategy::Strategy;
use crate::usage::Usage;
use crate::watch;

const ROUNDS_MAX: usize = 10;
/// Number of round trips for one figure, which is their median.
const TRIPS: usize = 20_000;
const TRIPS_QUICK: usize = 2_000;
/// Time after a change until the measurement starts.
const ADAPTING: Duration = LIVENESS_INTERVAL.saturating_mul(2);

/// Rings in both directions between this process and a party.
struct Pair {
    tx: SharedProducer<Event>,
    rx: SharedConsumer<Event>,
    party: Party,
    sent: u64,
    /// What the other side should receive; has the fault of this round.
    round: Round,
    deadline: Deadline,
    is_right: bool,
    _names: [Name; 2],
}

pub(super) fn run(setting: Setting<'_>) -> Result<Vec<Row>, Failure> {
    let Some(apart) = setting.cores else {
        // one core, or no permission to pin: there is nothing to compare
        return Ok(Vec::new());
    };
    let together = Cores {
        peer: apart.driver,
        ..apart
    };
    let trips = if setting.is_quick { TRIPS_QUICK } else { TRIPS };
    let all_cores = affinity::allowed();
    let [mut pinned, mut shrunk, mut widened] = <[Pairs; 3]>::default();
    let mut reason = None;
    let rounds = setting.rounds.min(ROUNDS_MAX);
    for round in 0..=rounds {
        let running = setting.start_round(round);
        let fault = running.fault;
        let mut is_right = true;
        let mut one = |cores: Option<Cores>| -> Result<(f64, Usage), Failure> {
            let mut pair = Pair::start(setting, cores, fault)?;
            pair.adapt()?;
            let measured = pair.median_ns(trips)?;
            is_right &= pair.close()?;
            affinity::allow(&all_cores);
            Ok(measured)
        };
        let (free, _) = one(None)?;
        let own_cores = one(Some(apart))?;
        let (same_core, _) = one(Some(together))?;
        let mut pair = Pair::start(setting, Some(apart), fault)?;
        pair.adapt()?;
        pair.move_to(together)?;
        let down_to_one = pair.median_ns(trips)?;
        pair.move_to(apart)?;
        let two_again = pair.median_ns(trips)?;
        is_right &= pair.close()?;
        affinity::allow(&all_cores);
        let wrong = (!is_right).then_some("an event did not come back as it was sent");
        running.end(&mut reason, round, wrong);
        // round 0 is the warm-up
        if round > 0 {
            pinned.push(own_cores, free);
            shrunk.push(down_to_one, same_core);
            widened.push(two_again, free);
        }
    }
    let row = |scenario, pairs: &Pairs, floor, limit| Row {
        messages: (trips * rounds) as u64,
        ..pairs.fill(
            Row::new(scenario, Strategy::Block.name(), "ns", CAPACITY).judged(reason.clone()),
            floor,
            Some(Target::RatioAtMost(limit)),
        )
    };
    Ok(vec![
        row("pinned_round_trip", &pinned, "not_pinned", 1.2),
        row("shrunk_round_trip", &shrunk, "begun_on_one_core", 2.0),
        row("widened_round_trip", &widened, "not_pinned", 1.2),
    ])
}

impl Pair {
    /// Starts the pair with this process on one core and the party on the other, or with both on any core that
    /// they may use.
    fn start(
        setting: Setting<'_>,
        cores: Option<Cores>,
        fault: Option<Fault>,
    ) -> Result<Self, Failure> {
        let names = [Name::new(), Name::new()];
        let [there, back] = [&names[0], &names[1]].map(|name| name.ring(CAPACITY, Strategy::Block));
        if let Some(cores) = cores {
            affinity::pin(cores.driver);
        }
        let tx = there.producer()?;
        let mut party = party::start(setting.arena, cores.map(|cores| cores.peer))?;
        party.ask(&Order::Consume(there))?;
        party.ask(&Order::Produce(back.clone()))?;
        let rx = back.consumer()?;
        party.order(&Order::Echo)?;
        Ok(Self {
            tx,
            rx,
            party,
            sent: 0,
            round: Round {
                number: 0,
                count: 0,
                fault,
            },
            deadline: setting.deadline(),
            is_right: true,
            _names: names,
        })
    }

    /// Moves both sides to these cores.
    fn move_to(&mut self, cores: Cores) -> Result<(), Failure> {
        affinity::pin(cores.driver);
        affinity::pin_other(self.party.id(), cores.peer)?;
        self.adapt()
    }

    /// Makes round trips until the sides have adapted to their cores.
    fn adapt(&mut self) -> Result<(), Failure> {
        let end = Instant::now() + ADAPTING;
        while Instant::now() < end {
            self.trip()?;
        }
        Ok(())
    }

    /// The median of so many round trips, and what both processes have taken for them.
    fn median_ns(&mut self, trips: usize) -> Result<(f64, Usage), Failure> {
        watch::check();
        let before = self.usage()?;
        let mut took = Vec::with_capacity(trips);
        for _ in 0..trips {
            let start = monotonic_ns();
            self.trip()?;
            took.push(monotonic_ns() - start);
        }
        let usage = self.usage()? - before;
        took.sort_unstable();
        Ok((took[trips / 2] as f64, usage))
    }

    /// What both processes have taken from the system so far.
    fn usage(&mut self) -> Result<Usage, Failure> {
        self.tx
            .send(self.deadline, |event| fill(event.words_mut(), END))?;
        let event = self.rx.recv(self.deadline)?;
        let [words @ .., _] = *event.words();
        Ok(Usage::read() + Usage::from_words(words))
    }

    fn trip(&mut self) -> Result<(), Failure> {
        let sent = self.sent;
        self.sent += 1;
        self.tx.send(self.deadline, |event| {
            self.round.fill::<true, 7>(event.words_mut(), sent, 0);
        })?;
        let event = self.rx.recv(self.deadline)?;
        self.is_right &= key_of(event.words()) == Some(sent);
        Ok(())
    }

    /// Closes the rings; returns whether each event came back as it was sent.
    fn close(mut self) -> Result<bool, Failure> {
        self.tx.close()?;
        let echoed = self.party.answer()?.count;
        Ok(self.is_right && echoed == self.sent)
    }
}
