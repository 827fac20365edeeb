//! Rounds: every round visits every cell once, with each floor right before the cells that are compared with it,
//! because the machine changes its pace during a measurement. Ratios are taken within a round; the report has the
//! median of the rounds.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::arena::{Arena, Role};
use crate::clock::Clock;
use crate::plan::Plan;
use crate::process::{Order, Peer, cpu_seconds};
use crate::scenario::{self, Endpoint, Failure};
use crate::watch;

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
    /// User and system time of both processes, in seconds.
    pub(crate) cpu: (f64, f64),
    /// Whether both ends received exactly the messages that were sent, in every round.
    pub(crate) is_verified: bool,
}

impl Series {
    fn new() -> Result<Self, Failure> {
        Ok(Self {
            figures: Vec::new(),
            trips: Histogram::new(3)?,
            messages: 0,
            cpu: (0.0, 0.0),
            is_verified: true,
        })
    }

    /// The figure of this cell in each round, divided by its floor's figure in the same round.
    pub(crate) fn ratio(&self, floor: &Self) -> Spread {
        let pairs = self.figures.iter().zip(&floor.figures);
        Spread::of(pairs.map(|(figure, floor)| figure / floor).collect())
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
}

impl Bench<'_> {
    /// Runs the plan. `on_step` is called after every cell of every round.
    pub(crate) fn run(mut self, mut on_step: impl FnMut()) -> Result<Vec<Series>, Failure> {
        let mut cells = self.open()?;
        let series: Result<Vec<_>, _> = cells.iter().map(|_| Series::new()).collect();
        let mut series = series?;
        let start = Instant::now();
        // Round 0 is a warm-up: it is verified, but not counted.
        for round in 0..=self.effort.rounds {
            for (index, cell) in cells.iter_mut().enumerate() {
                watch::check();
                self.step(index, round as u64, cell.as_mut(), &mut series[index])?;
                on_step();
            }
            if round >= ROUNDS_MIN && start.elapsed() > self.effort.budget {
                break;
            }
        }
        self.peer.ask(&Order::Close)?;
        for cell in cells {
            cell.close()?;
        }
        Ok(series)
    }

    /// Opens every cell on both sides.
    fn open(&mut self) -> Result<Vec<Box<dyn Endpoint>>, Failure> {
        let mut cells = Vec::with_capacity(self.plan.cells.len());
        for cell in &self.plan.cells {
            let mut end = scenario::open(&cell.spec, Role::Driver)?;
            self.peer.ask(&Order::Open(cell.spec.clone()))?;
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
        series: &mut Series,
    ) -> Result<(), Failure> {
        let spec = &self.plan.cells[cell].spec;
        let count = spec.messages_per_round(self.effort.is_quick);
        self.peer.order(&Order::Run { cell, round, count })?;
        let before = cpu_seconds();
        let outcome = end.run(&mut self.arena, &self.clock, round, count);
        let after = cpu_seconds();
        let answer = self.peer.answer()?;
        series.is_verified &= outcome.is_right() && answer.is_right;
        if round == 0 {
            return Ok(());
        }
        if spec.is_latency() {
            for &trip in &outcome.ticks {
                series.trips.record(self.clock.nanos(trip).max(1))?;
            }
            series
                .figures
                .push(typical_trip_ns(&outcome.ticks, &self.clock));
        } else {
            series
                .figures
                .push(typical_rate(&outcome.ticks, count, &self.clock));
        }
        series.messages += count;
        series.cpu.0 += after.0 - before.0 + answer.cpu.0;
        series.cpu.1 += after.1 - before.1 + answer.cpu.1;
        Ok(())
    }
}

/// Messages per second in the median block of a round.
fn typical_rate(blocks: &[u64], count: u64, clock: &Clock) -> f64 {
    let nanos = blocks.iter().map(|&ticks| clock.nanos(ticks).max(1) as f64);
    count as f64 / blocks.len() as f64 * 1e9 / Spread::of(nanos.collect()).median
}

/// The median round trip, at a finer resolution than the clock's: some processors' counters move in steps of 10
/// ns, so this is the median of the means of 16 consecutive trips. A block with a disturbed trip is as far out as
/// the trip itself.
fn typical_trip_ns(trips: &[u64], clock: &Clock) -> f64 {
    const BLOCK: usize = 16;
    let blocks = trips
        .chunks_exact(BLOCK)
        .map(|block| block.iter().sum::<u64>());
    let sums = Spread::of(blocks.map(|sum| clock.nanos(sum) as f64).collect());
    (sums.median / BLOCK as f64).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn the_middle_of_odd_and_even_counts() {
        let spread = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!((spread.median, spread.min, spread.max), (2.0, 1.0, 3.0));
        assert_eq!(Spread::of(vec![4.0, 1.0]).median, 2.5);
    }
}
