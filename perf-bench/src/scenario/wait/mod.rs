//! The cost of waiting: how soon a sleeper wakes, the processor time of sleeping, and how soon a death is noticed.
//!
//! Unlike the other scenarios, these need more than two processes, some of which die. The driver has one end of
//! most rings itself; the others are parties, one process each. Rounds alternate between the measured case and
//! the one that it is compared with, and ratios are taken within a round, as everywhere.

mod affinity;
pub(crate) mod broadcast;
pub(crate) mod churn;
mod death;
mod fan_out;
mod idle;
mod latency;
pub(crate) mod party;
pub(crate) mod session;

use std::ffi::CString;
use std::time::Duration;

use myelon::{Deadline, portable_shm_segment_name};

use self::party::{Order, Party, Ring};
use super::Failure;
use crate::affinity::Cores;
use crate::arena::Arena;
use crate::fault::{Fault, Planted, Round, complain};
use crate::measure::Spread;
use crate::payload::Words;
use crate::plan::Plan;
use crate::report::comparison::{Row, Target};
use crate::selection;
use crate::spec::Spec;
use crate::strategy::Strategy;
use crate::usage::Usage;
use crate::watch::{Timed, patience};

/// The event of all rings: 56 bytes.
type Event = Words<7>;
/// Slots of all rings except the full one.
const CAPACITY: usize = 1024;
/// Slots of a ring that is meant to be full.
const FULL_CAPACITY: usize = 64;
/// A bit in the key of a round's last event.
const END: u64 = 1 << 63;
/// The default interval at which a blocked call runs a liveness check.
const LIVENESS_INTERVAL: Duration = Duration::from_millis(100);
/// The time after which an order has certainly reached its party, on a machine that is not overloaded.
const SETTLE: Duration = Duration::from_millis(5);

/// The scenarios that can be selected by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum WaitScenario {
    /// Events sent to a sleeping consumer at intervals of a millisecond, against a bare wake-up.
    #[value(name = "wake_latency")]
    WakeLatency,
    /// The processor time of a consumer without events (by itself, in a set or at a descriptor) and of a producer
    /// without space, against a bare sleep.
    #[value(name = "idle")]
    Idle,
    /// One producer and three consumers on two cores: sleeping against yielding.
    #[value(name = "fan_out")]
    FanOut,
    /// Round trips on one core each and on one shared core, against those that are not pinned; and when the cores
    /// change.
    #[value(name = "affinity")]
    Affinity,
    /// The time until a kill -9 of the other side, or of a required consumer, is noticed, against the end of a pipe.
    #[value(name = "death")]
    Death,
}

impl WaitScenario {
    /// Those whose rings can be chosen.
    pub(crate) const CHOSEN: [Self; 1] = [Self::WakeLatency];
}

/// Where to measure, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) arena: &'a Arena,
    pub(crate) cores: Option<Cores>,
    pub(crate) rounds: usize,
    pub(crate) is_quick: bool,
    /// A round that takes longer than this is not verified.
    pub(crate) round_limit: Duration,
    /// The faults to plant.
    pub(crate) faults: Planted,
}

impl Setting<'_> {
    /// The duration of one step of one ring in which a producer publishes without end.
    fn step_time(&self) -> Duration {
        Duration::from_millis(if self.is_quick { 100 } else { 300 })
    }

    /// Starts a round.
    fn start_round(&self, number: usize) -> Running {
        let round = Round::new(number as u64, 0, self.faults);
        let timed = Timed::start(self.round_limit);
        std::thread::sleep(round.delay(self.round_limit));
        Running {
            fault: round.fault,
            timed,
        }
    }

    /// A deadline that ends a call to a party that hangs.
    fn deadline(&self) -> Deadline {
        Deadline::after(patience(self.round_limit))
    }
}

/// A round that has begun.
#[derive(Debug)]
struct Running {
    /// The fault to plant in this round.
    fault: Option<Fault>,
    timed: Timed,
}

impl Running {
    /// Whether something has to happen that should not, in a scenario without messages.
    fn has_surprise(&self) -> bool {
        self.fault.is_some_and(|fault| fault != Fault::Slow)
    }

    /// Ends the round; adds to the reasons why the scenario is not verified what was wrong in this round, or else its
    /// lateness.
    fn end(self, reasons: &mut Option<String>, number: usize, wrong: Option<&str>) {
        let wrong = wrong.map(str::to_owned).or(self.timed.end());
        complain(
            reasons,
            wrong.map(|wrong| format!("round {number}: {wrong}")),
        );
    }
}

/// Bytes of slots that [`run`] needs in the arena.
pub(crate) const ARENA_BYTES: usize = latency::EVENTS_MAX * size_of::<u64>();

/// Measures these scenarios, in this order, with their own rings.
pub(crate) fn run(scenarios: &[WaitScenario], setting: Setting<'_>) -> Result<Vec<Row>, Failure> {
    let rings = selection::of_events(Strategy::Block, None);
    let mut rows = Vec::new();
    for scenario in scenarios {
        rows.extend(match scenario {
            WaitScenario::WakeLatency => {
                latency::run(&rings, Some(Target::RatioAtMost(1.3)), setting)?
            }
            WaitScenario::Idle => idle::run(setting)?,
            WaitScenario::FanOut => fan_out::run(setting)?,
            WaitScenario::Affinity => affinity::run(setting)?,
            WaitScenario::Death => death::run(setting)?,
        });
    }
    Ok(rows)
}

/// Measures the scenarios of [`WaitScenario::CHOSEN`] with these rings.
pub(crate) fn run_chosen(rings: &Plan, setting: Setting<'_>) -> Result<Vec<Row>, Failure> {
    latency::run(rings, None, setting)
}

/// A row of this ring, without figures.
fn row_of(spec: &Spec, scenario: &'static str, unit: &'static str) -> Row {
    Row {
        layer: spec.layer(),
        backend: spec.backend.name(),
        size_bytes: spec.size_bytes,
        ..Row::new(scenario, spec.strategy.name(), unit, spec.capacity)
    }
}

/// A ring's name. Dropping it removes the name, whichever process created the ring and however that process ended.
#[derive(Debug)]
struct Name(String);

impl Name {
    fn new() -> Self {
        Self(portable_shm_segment_name("pb"))
    }

    fn ring(&self, capacity: usize, strategy: Strategy) -> Ring {
        Ring {
            name: self.0.clone(),
            capacity,
            strategy,
            has_observers: false,
        }
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if let Ok(name) = CString::new(format!("/{}", self.0)) {
            // SAFETY: the string is terminated; for a name that does not exist the call is an error without effect.
            unsafe { libc::shm_unlink(name.as_ptr()) };
        }
    }
}

/// Starts a party that has a consumer of `ring`.
fn consumer(arena: &Arena, core: Option<usize>, ring: &Ring) -> Result<Party, Failure> {
    let mut party = party::start(arena, core)?;
    party.ask(&Order::Consume(ring.clone()))?;
    Ok(party)
}

/// Starts a party that has attached to a ring of a chosen layer.
fn receiver(arena: &Arena, core: Option<usize>, spec: &Spec) -> Result<Party, Failure> {
    let mut party = party::start(arena, core)?;
    party.ask(&Order::Attach(spec.clone()))?;
    Ok(party)
}

/// Starts a party that has the producer of `ring`.
fn producer(arena: &Arena, core: Option<usize>, ring: &Ring) -> Result<Party, Failure> {
    let mut party = party::start(arena, core)?;
    party.ask(&Order::Produce(ring.clone()))?;
    Ok(party)
}

/// The figures of each round, with the figures that they are compared with.
#[derive(Debug, Default)]
struct Pairs {
    own: Vec<f64>,
    beside: Vec<f64>,
    /// What the processes of the measured case took from the system. A process that was killed has told nothing.
    usage: Usage,
}

impl Pairs {
    fn push(&mut self, (own, usage): (f64, Usage), beside: f64) {
        self.own.push(own);
        self.beside.push(beside);
        self.usage += usage;
    }

    /// The row of these rounds.
    fn fill(&self, row: Row, floor: &'static str, target: Option<Target>) -> Row {
        let ratios = self.own.iter().zip(&self.beside);
        let ratios = ratios.map(|(own, beside)| own / beside).collect();
        let usage = self.usage;
        Row { usage, ..row }.with(
            (Spread::of(self.own.clone()), self.own.len()),
            (floor, Spread::of(self.beside.clone())),
            ratios,
            target,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_ratio_of_its_rounds_and_not_of_its_medians() {
        let mut pairs = Pairs::default();
        let usage = Usage {
            minor_faults: 2,
            ..Usage::default()
        };
        for (own, beside) in [(10.0, 5.0), (30.0, 10.0), (80.0, 100.0)] {
            pairs.push((own, usage), beside);
        }
        let row = pairs.fill(
            Row::new("s", "w", "ns", 1),
            "f",
            Some(Target::RatioAtMost(1.9)),
        );
        assert_eq!((row.figure, row.floor_figure), (30.0, 10.0));
        assert_eq!(
            (row.ratio_to_floor, row.ratio_min, row.ratio_max),
            (2.0, 0.8, 3.0)
        );
        assert_eq!((row.rounds, row.is_met), (3, Some(false)));
        assert_eq!(row.usage.minor_faults, 6);
    }

    #[test]
    fn each_wrong_round_is_a_reason() {
        let mut reason = None;
        let round = || Running {
            fault: None,
            timed: Timed::start(Duration::from_secs(600)),
        };
        round().end(&mut reason, 1, None);
        assert_eq!(reason, None);
        round().end(&mut reason, 2, Some("wrong"));
        round().end(&mut reason, 3, Some("also wrong"));
        assert_eq!(
            reason.as_deref(),
            Some("round 2: wrong; round 3: also wrong")
        );
    }
}
