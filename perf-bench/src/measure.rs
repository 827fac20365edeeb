//! Rounds: every round visits every cell once, with each floor right before the cells that are compared with it,
//! because the machine changes its pace during a measurement. Ratios are taken within a round; the report has the
//! median of the rounds.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::arena::{Arena, Role};
use crate::child::Child;
use crate::clock::{Clock, monotonic_ns};
use crate::compare::Flow;
use crate::fault::{Planted, Round, complain};
use crate::placement::{Around, Placement, Ticks, load};
use crate::plan::{Cell, Plan};
use crate::process::{Answer, Order, Peer};
use crate::scenario::{self, Endpoint, Failure};
use crate::spec::Work;
use crate::usage::Usage;
use crate::watch::{self, Timed};

/// The least number of rounds for a median.
pub(crate) const ROUNDS_MIN: usize = 7;

/// How long and how often to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    /// After this time no further round starts, once there are [`ROUNDS_MIN`].
    pub(crate) budget: Duration,
    /// Whether rounds have fewer messages.
    pub(crate) is_quick: bool,
    /// A round that takes longer than this is not verified.
    pub(crate) round_limit: Duration,
    /// The faults to plant.
    pub(crate) faults: Planted,
    /// Whether to measure the placement of the cores around each round, and to keep the rounds of each placement apart.
    /// The plan's second cell is the two-line bounce.
    pub(crate) by_placement: bool,
}

/// The rounds of one placement of the cores, or all rounds.
#[derive(Debug)]
pub(crate) struct Group {
    /// The placement and what was measured around its rounds, if the rounds are kept apart.
    pub(crate) placement: Option<(Placement, Around)>,
    /// The measurements of each cell.
    pub(crate) series: Vec<Series>,
}

/// What one round of one cell gave.
#[derive(Debug)]
struct Measured {
    /// The median round trip in ns, or messages per second.
    figure: f64,
    trips_ns: Vec<u64>,
    messages: u64,
    usage: Usage,
    reason: Option<String>,
}

/// The median of several rounds, and their range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `values` must not be empty.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let count = values.len();
        Self {
            median: (values[(count - 1) / 2] + values[count / 2]) / 2.0,
            min: values[0],
            max: values[count - 1],
        }
    }
}

/// The measurements of one cell.
#[derive(Debug)]
pub(crate) struct Series {
    /// Per round: the median round trip in ns, or messages per second.
    pub(crate) figures: Vec<f64>,
    /// All round trips of all rounds, in ns.
    pub(crate) trips: Histogram<u64>,
    pub(crate) messages: u64,
    /// What both processes took from the system.
    pub(crate) usage: Usage,
    /// The reasons why the cell is not verified. Otherwise both ends received exactly the messages that were
    /// sent, in every round, and no round took too long.
    pub(crate) reason: Option<String>,
}

impl Series {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self {
            figures: Vec::new(),
            trips: Histogram::new(3)?,
            messages: 0,
            usage: Usage::default(),
            reason: None,
        })
    }

    /// Whether the cell is verified.
    pub(crate) fn is_verified(&self) -> bool {
        self.reason.is_none()
    }

    /// Adds a round.
    fn add(&mut self, round: Measured) -> Result<(), Failure> {
        for trip in round.trips_ns {
            self.trips.record(trip.max(1))?;
        }
        self.figures.push(round.figure);
        self.messages += round.messages;
        self.usage += round.usage;
        complain(&mut self.reason, round.reason);
        Ok(())
    }

    /// The figure of this cell in each round, divided by its floor's figure in the same round.
    pub(crate) fn ratios(&self, floor: &Self) -> Vec<f64> {
        let pairs = self.figures.iter().zip(&floor.figures);
        pairs.map(|(figure, floor)| figure / floor).collect()
    }

    /// The median of these, and their range.
    pub(crate) fn ratio(&self, floor: &Self) -> Spread {
        Spread::of(self.ratios(floor))
    }
}

/// Both processes, ready to measure.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) effort: Effort,
    pub(crate) clock: Clock,
    pub(crate) arena: Arena,
    pub(crate) peer: Peer,
    /// The receivers of broadcasts, if there are any.
    pub(crate) receivers: Vec<Child<Order, Answer>>,
}

impl Bench<'_> {
    /// Runs the plan. `on_step` is called after every cell of every round.
    pub(crate) fn run(mut self, mut on_step: impl FnMut()) -> Result<Vec<Group>, Failure> {
        let mut cells = self.open()?;
        let mut groups: Vec<Group> = Vec::new();
        let start = Instant::now();
        let mut warm_up = Vec::new();
        // Round 0 is a warm-up: it is verified, but not counted.
        for round in 0..=self.effort.rounds {
            let before = self.around(round, &mut cells)?;
            let mut measured = Vec::with_capacity(cells.len());
            for (index, cell) in cells.iter_mut().enumerate() {
                watch::check();
                measured.push(self.step(index, round as u64, cell.as_mut())?);
                on_step();
            }
            let after = self.around(round, &mut cells)?;
            if round == 0 {
                warm_up = measured.into_iter().map(|cell| cell.reason).collect();
            } else {
                let around = before.zip(after);
                let group = group_of(&mut groups, around, cells.len())?;
                for (series, measured) in group.series.iter_mut().zip(measured) {
                    series.add(measured)?;
                }
            }
            if round >= ROUNDS_MIN && start.elapsed() > self.effort.budget {
                break;
            }
        }
        for group in &mut groups {
            for (series, reason) in group.series.iter_mut().zip(&warm_up) {
                complain(&mut series.reason, reason.clone());
            }
        }
        groups.sort_by_key(|group| group.placement.map(|(placement, _)| placement));
        let _timed = Timed::start(self.effort.round_limit);
        self.peer.ask(&Order::Close)?;
        for receiver in &mut self.receivers {
            receiver.ask(&Order::Close)?;
        }
        for cell in cells {
            cell.close()?;
        }
        Ok(groups)
    }

    /// The time of a two-line bounce and the kernel's ticks now, if rounds are kept apart.
    fn around(
        &mut self,
        round: usize,
        cells: &mut [Box<dyn Endpoint>],
    ) -> Result<Option<(f64, Ticks)>, Failure> {
        const TWO_LINE_BOUNCE: usize = 1;
        if !self.effort.by_placement {
            return Ok(None);
        }
        let ticks = Ticks::read();
        let bounce = self.step(
            TWO_LINE_BOUNCE,
            round as u64,
            cells[TWO_LINE_BOUNCE].as_mut(),
        )?;
        Ok(Some((bounce.figure, ticks)))
    }

    /// Opens every cell on both sides.
    fn open(&mut self) -> Result<Vec<Box<dyn Endpoint>>, Failure> {
        let mut cells = Vec::with_capacity(self.plan.cells.len());
        for (cell, Cell { spec, .. }) in self.plan.cells.iter().enumerate() {
            let _timed = Timed::start(self.effort.round_limit);
            let mut end = scenario::open(spec, Role::Driver)?;
            if spec.is_broadcast() {
                let receivers = self.receivers.iter_mut().take(spec.receivers());
                for (number, receiver) in receivers.enumerate() {
                    let mut spec = spec.clone();
                    if let Work::Compared { flow, .. } = &mut spec.work {
                        *flow = Flow::Broadcast { receiver: number };
                    }
                    receiver.ask(&Order::Open { cell, spec })?;
                }
            } else {
                let spec = spec.clone();
                self.peer.ask(&Order::Open { cell, spec })?;
            }
            end.finish_opening()?;
            cells.push(end);
        }
        Ok(cells)
    }

    /// One round of one cell.
    fn step(
        &mut self,
        cell: usize,
        round: u64,
        end: &mut dyn Endpoint,
    ) -> Result<Measured, Failure> {
        let spec = &self.plan.cells[cell].spec;
        let count = spec.messages_per_round(self.effort.is_quick);
        let limit = self.effort.round_limit;
        let timed = Timed::start(limit);
        let round = Round::new(round, count, self.effort.faults);
        if spec.is_broadcast() {
            return self.broadcast(cell, round, end, timed);
        }
        self.peer.order(&Order::Run { cell, round })?;
        std::thread::sleep(round.delay(limit));
        let before = Usage::read();
        let outcome = end.run(&mut self.arena, &self.clock, round);
        let mut usage = Usage::read() - before;
        let answer = self.peer.answer()?;
        usage += answer.usage;
        let reason = judge(outcome.is_right(), answer.is_right).or(timed.end());
        let (figure, trips) = if spec.per_s.is_some() {
            // the end that receives last has measured
            let took_ns = if spec.is_round_trip() {
                outcome.took_ns
            } else {
                answer.took_ns
            };
            let took = took_ns.iter().map(|&ns| ns as f64);
            (Spread::of(took.collect()).median.max(1.0), took_ns)
        } else if spec.is_latency() {
            let trips = outcome.ticks.iter().map(|&trip| self.clock.nanos(trip));
            (
                typical_trip_ns(&outcome.ticks, &self.clock),
                trips.collect(),
            )
        } else {
            let rate = typical_rate(&outcome.ticks, count, &self.clock);
            (rate, Vec::new())
        };
        Ok(Measured {
            figure,
            trips_ns: trips,
            messages: count,
            usage,
            reason: reason.map(|reason| format!("round {}: {reason}", round.number)),
        })
    }

    /// A round with several receivers, which lasts until the last of them has received everything.
    fn broadcast(
        &mut self,
        cell: usize,
        round: Round,
        end: &mut dyn Endpoint,
        timed: Timed,
    ) -> Result<Measured, Failure> {
        let receivers = &mut self.receivers[..self.plan.cells[cell].spec.receivers()];
        for receiver in &mut *receivers {
            receiver.order(&Order::Run { cell, round })?;
        }
        std::thread::sleep(SETTLE + round.delay(self.effort.round_limit));
        let (before, start_ns) = (Usage::read(), monotonic_ns());
        let outcome = end.run(&mut self.arena, &self.clock, round);
        let mut usage = Usage::read() - before;
        let mut ends_ns = outcome.took_ns.clone();
        let mut is_right = outcome.is_right();
        for receiver in receivers {
            let answer = receiver.answer()?;
            usage += answer.usage;
            is_right &= answer.is_right;
            ends_ns.extend(answer.took_ns);
        }
        let took_ns = ends_ns.into_iter().max().unwrap_or_default();
        let took_ns = took_ns.saturating_sub(start_ns).max(1);
        let wrong = (!is_right).then(|| "a receiver received other messages than were sent".into());
        let reason = wrong.or(timed.end());
        Ok(Measured {
            figure: round.count as f64 * 1e9 / took_ns as f64,
            trips_ns: Vec::new(),
            messages: round.count,
            usage,
            reason: reason.map(|reason: String| format!("round {}: {reason}", round.number)),
        })
    }
}

/// The time after which an order has certainly reached its process, on a machine that is not overloaded.
const SETTLE: Duration = Duration::from_millis(2);

/// What is wrong with a round, if an end received other messages than were sent.
fn judge(by_driver: bool, by_peer: bool) -> Option<String> {
    let end = match (by_driver, by_peer) {
        (true, true) => return None,
        (false, true) => "the driver",
        (true, false) => "the second process",
        (false, false) => "each of the two processes",
    };
    Some(format!("{end} received other messages than were sent"))
}

/// The group of a round with these bounces around it; `None` if rounds are not kept apart.
fn group_of(
    groups: &mut Vec<Group>,
    around: Option<((f64, Ticks), (f64, Ticks))>,
    cells: usize,
) -> Result<&mut Group, Failure> {
    let placement = around.map(|((before, _), (after, _))| Placement::of(before, after));
    let is_it = |group: &Group| group.placement.map(|(placement, _)| placement) == placement;
    let index = match groups.iter().position(is_it) {
        Some(index) => index,
        None => {
            let series: Result<Vec<_>, _> = (0..cells).map(|_| Series::new()).collect();
            groups.push(Group {
                placement: placement.map(|placement| (placement, Around::NONE)),
                series: series?,
            });
            groups.len() - 1
        }
    };
    let group = &mut groups[index];
    if let (Some((_, total)), Some((before, after))) = (&mut group.placement, around) {
        let stolen = after.1.stolen_percent_since(before.1);
        total.add(before.0, after.0, stolen, load());
    }
    Ok(group)
}

/// Messages per second in the median block of a round.
fn typical_rate(blocks: &[u64], count: u64, clock: &Clock) -> f64 {
    let nanos = blocks.iter().map(|&ticks| clock.nanos(ticks).max(1) as f64);
    count as f64 / blocks.len() as f64 * 1e9 / Spread::of(nanos.collect()).median
}

/// The median round trip, at a finer resolution than the clock's: some processors' counters move in steps of 10
/// ns, so this is the median of the means of 16 consecutive trips. A disturbed trip spoils only its own block,
/// which the median then leaves aside.
fn typical_trip_ns(trips: &[u64], clock: &Clock) -> f64 {
    let trips_of_block = trips.len().clamp(1, 16);
    let blocks = trips
        .chunks_exact(trips_of_block)
        .map(|block| block.iter().sum::<u64>());
    let sums = Spread::of(blocks.map(|sum| clock.nanos(sum) as f64).collect());
    (sums.median / trips_of_block as f64).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_odd_and_even_counts() {
        let spread = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!((spread.median, spread.min, spread.max), (2.0, 1.0, 3.0));
        assert_eq!(Spread::of(vec![4.0, 1.0]).median, 2.5);
    }

    #[test]
    fn a_ratio_is_the_median_of_the_own_figure_by_the_floor_of_the_same_round() {
        let of = |figures: &[f64]| {
            let mut series = Series::new().expect("a series");
            series.figures = figures.to_vec();
            series
        };
        // the medians of the figures are 30 and 10, but no round has that ratio
        let (own, floor) = (of(&[10.0, 30.0, 80.0]), of(&[5.0, 10.0, 100.0]));
        let ratio = own.ratio(&floor);
        assert_eq!((ratio.median, ratio.min, ratio.max), (2.0, 0.8, 3.0));
        let ratio = floor.ratio(&own);
        assert_eq!((ratio.median, ratio.max), (0.5, 1.25));
    }

    #[test]
    fn one_slow_round_does_not_move_a_median() {
        let figures = [100.0, 101.0, 99.0, 100_000.0, 100.0];
        assert_eq!(Spread::of(figures.to_vec()).median, 100.0);
    }

    #[test]
    fn a_rate_is_that_of_the_median_block() {
        let clock = Clock::of_nanoseconds();
        // three blocks of 50 messages: in 500, 1,000 and 9,000 ns
        assert_eq!(typical_rate(&[1_000, 500, 9_000], 150, &clock), 50e6);
    }

    #[test]
    fn a_trip_is_the_median_of_the_means_of_sixteen() {
        let clock = Clock::of_nanoseconds();
        let mut trips = vec![100; 16];
        trips.extend([150; 16]);
        trips.extend([200; 16]);
        // a disturbed trip spoils only its block
        trips[40] = 1_000_000;
        assert_eq!(typical_trip_ns(&trips, &clock), 150.0);
    }

    #[test]
    fn a_reason_names_the_end() {
        let judged = |by_driver, by_peer| judge(by_driver, by_peer).unwrap_or_default();
        assert_eq!(judged(true, true), "");
        assert!(judged(false, false).starts_with("each of the two"));
        assert!(judged(true, false).starts_with("the second process"));
        assert!(judged(false, true).starts_with("the driver"));
    }

    #[test]
    fn rounds_of_different_placements_are_kept_apart() {
        let mut groups = Vec::new();
        let ticks = Ticks::default();
        for (before, after, figure) in [
            (90.0, 95.0, 1.0),
            (400.0, 410.0, 2.0),
            (92.0, 91.0, 3.0),
            (90.0, 400.0, 4.0),
        ] {
            let around = Some(((before, ticks), (after, ticks)));
            let group = group_of(&mut groups, around, 1).expect("a group");
            group.series[0].figures.push(figure);
        }
        let found = groups.iter().map(|group| {
            let (placement, _) = group.placement.expect("a placement");
            (placement, &group.series[0].figures[..])
        });
        let expected = [
            (Placement::Near, &[1.0, 3.0][..]),
            (Placement::Far, &[2.0]),
            (Placement::Moved, &[4.0]),
        ];
        assert!(found.eq(expected));

        let mut groups = Vec::new();
        for _ in 0..2 {
            group_of(&mut groups, None, 1).expect("a group");
        }
        assert_eq!(groups.len(), 1);
    }
}
