//! How a call waits: spin, yield or sleep, and how often it looks up to see who has died.
//!
//! Nothing here is reached by a publish or a consume that does not wait (R12). Sleeping in the kernel is R9; a call that
//! sleeps by the clock, or whose wake-up was lost with the one who was to wake it, looks up by itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cancel::CancelToken;
use crate::deadline::Deadline;
use crate::fail::buggify;
use crate::os::cpu;
use crate::region::Region;
use crate::sync::{spin_loop, yield_now};
use crate::{clock, env};

/// How a blocked call passes its time.
///
/// # Examples
///
/// ```
/// use disruptor_mp::AutoWaitStrategy;
///
/// assert_eq!(AutoWaitStrategy::default(), AutoWaitStrategy::Block);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AutoWaitStrategy {
    /// Look again at once. Needs a core of its own.
    BusySpin,
    /// Look again after the processor's spin hint.
    BusySpinWithSpinLoopHint,
    /// Spin, then give the core to whoever wants it between two looks.
    SpinThenYield {
        /// How many times to spin first.
        spins: u32,
    },
    /// Sleep this long between two looks; no longer than a liveness interval or 100 ms, as nobody wakes who sleeps by the
    /// clock, and it has to see a token and a death.
    Sleep(Duration),
    /// Spin for about as long as waking up takes, then sleep in the kernel until woken. Where those who share the ring
    /// outnumber the cores, nobody spins: they yield a few times first.
    #[default]
    Block,
}

impl AutoWaitStrategy {
    /// Whether it never lets go of its core.
    pub(crate) fn spins(self) -> bool {
        matches!(self, Self::BusySpin | Self::BusySpinWithSpinLoopHint)
    }

    /// Between two looks.
    #[inline(always)]
    pub(crate) fn hint(self) {
        if self != Self::BusySpin {
            spin_loop();
        }
    }
}

/// How often a blocked call looks whether those it waits for are alive, unless the builder says otherwise.
pub(crate) const LIVENESS_INTERVAL: Duration = Duration::from_millis(100);
/// A longer one is as good as none: a century. An instant that lies so far ahead is one that the clock can tell.
pub(crate) const LIVENESS_INTERVAL_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// Who sleeps by the clock is up this often, however long it is told to sleep: nobody wakes it.
const NAP_MAX: Duration = Duration::from_millis(100);
/// Spins between two looks at the clock.
const SPINS_PER_LOOK: u32 = 256;
/// Yields between two looks at the clock: each can last as long as somebody else's turn.
const YIELDS_PER_LOOK: u32 = 16;
/// Spins of `Block` between two looks at the clock: a fraction of a microsecond.
const BLOCK_SPINS_PER_LOOK: u32 = 16;
const BLOCK_YIELDS: u32 = 4;
/// What waking up is taken for to begin with, and at the most.
const WAKE_COST_FIRST: Duration = Duration::from_micros(20);
const WAKE_COST_MAX: Duration = Duration::from_micros(100);
/// Until then a wait is taken for short, and nobody's life is doubted.
pub(crate) const FIRST_LOOK: Duration = Duration::from_millis(1);

/// What a waiting call does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// Look again at what it waits for.
    Again,
    /// Look at who is alive as well.
    LookAround,
    /// Sleep in the kernel, this long at the most.
    Sleep(Duration),
    /// The deadline has passed.
    TimedOut,
}

/// How the waits of one endpoint are made, and what they have taught it.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    pub(crate) strategy: AutoWaitStrategy,
    /// How often a blocked call looks whether those it waits for are alive.
    pub(crate) liveness_interval: Duration,
    /// Any of these ends its waits.
    pub(crate) cancels: Vec<CancelToken>,
    /// What waking up takes, from the first store of who wakes to the sleeper's first instruction: a moving average.
    wake_cost: Duration,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            strategy: AutoWaitStrategy::default(),
            liveness_interval: LIVENESS_INTERVAL,
            cancels: Vec::new(),
            wake_cost: WAKE_COST_FIRST,
        }
    }
}

impl Habits {
    /// Counts a wake-up in.
    pub(crate) fn learn(&mut self, wake: Option<Duration>) {
        if let Some(cost) = wake {
            self.wake_cost = (self.wake_cost * 7 + cost.min(WAKE_COST_MAX)) / 8;
        }
    }

    /// Lets the cancel tokens wake who sleeps on this segment.
    pub(crate) fn watch(&self, region: &Arc<dyn Region>) {
        for token in &self.cancels {
            token.watch(region);
        }
    }

    /// Whether somebody has cancelled the waits.
    pub(crate) fn are_cancelled(&self) -> bool {
        self.cancels.iter().any(CancelToken::is_cancelled)
    }

    /// Spinning for longer than waking up takes costs more than it gains; and who spins where there are more parties
    /// than cores may spin on the very core that the awaited one needs.
    fn spin_budget(&self, participants: usize) -> Duration {
        if participants > cpu::usable_cpus() {
            Duration::ZERO
        } else {
            self.wake_cost
        }
    }

    /// Where the parties outnumber the machine's cores, the awaited one may run on this very core as soon as it is given up.
    /// Elsewhere it is a stranger who runs then, for as long as a turn lasts: who sleeps has the core back when it is woken,
    /// who has yielded waits for its turn.
    fn yields(participants: usize) -> u32 {
        if participants > cpu::online_cpus() {
            BLOCK_YIELDS
        } else {
            0
        }
    }
}

/// One wait of one call.
#[derive(Debug)]
pub(crate) struct Waiter {
    strategy: AutoWaitStrategy,
    deadline: Deadline,
    liveness_interval: Duration,
    rounds: u32,
    next_look: Option<Instant>,
    block: BlockPhase,
    sleeps: u64,
}

/// How far a wait by `Block` has come.
#[derive(Debug)]
enum BlockPhase {
    Spin {
        budget: Duration,
        until: Option<Instant>,
        yields: u32,
    },
    Yield {
        left: u32,
    },
    Sleep,
}

impl Waiter {
    /// `participants`: how many share the ring, the producer included.
    pub(crate) fn new(
        habits: &Habits,
        strategy: AutoWaitStrategy,
        deadline: Deadline,
        participants: usize,
    ) -> Self {
        Self {
            strategy,
            deadline,
            liveness_interval: habits.liveness_interval,
            rounds: 0,
            next_look: None,
            block: BlockPhase::Spin {
                budget: habits.spin_budget(participants),
                until: None,
                yields: Habits::yields(participants),
            },
            sleeps: 0,
        }
    }

    /// One who has waited before looks around when it was due.
    pub(crate) fn looking_at(mut self, due: Option<Instant>) -> Self {
        self.next_look = due;
        self
    }

    /// When it looks around next; `None` before it has looked at the clock.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.next_look
    }

    /// The same wait goes on, until then.
    pub(crate) fn set_deadline(&mut self, deadline: Deadline) {
        self.deadline = deadline;
    }

    /// How often it has slept since the last call, for the counters.
    pub(crate) fn take_sleeps(&mut self) -> u64 {
        core::mem::take(&mut self.sleeps)
    }

    /// Passes a moment, or says how long to sleep.
    pub(crate) fn pause(&mut self) -> Pause {
        self.rounds = self.rounds.wrapping_add(1);
        let spun = match self.strategy {
            AutoWaitStrategy::Block => self.pass_by_blocking(),
            _ => self.pass(),
        };
        if spun && !self.rounds.is_multiple_of(SPINS_PER_LOOK) {
            return Pause::Again;
        }
        self.look_at_clock()
    }

    /// Whether the moment was too short to be worth a look at the clock.
    fn pass_by_blocking(&mut self) -> bool {
        match &mut self.block {
            BlockPhase::Spin {
                budget,
                until,
                yields,
            } => {
                if !budget.is_zero() {
                    spin_loop();
                    if !self.rounds.is_multiple_of(BLOCK_SPINS_PER_LOOK) {
                        return true;
                    }
                    let now = clock::now();
                    if now < *until.get_or_insert(now + *budget) {
                        return true;
                    }
                }
                self.block = match *yields {
                    0 => BlockPhase::Sleep,
                    left => BlockPhase::Yield { left },
                };
                !matches!(self.block, BlockPhase::Sleep)
            }
            BlockPhase::Yield { left } => {
                yield_now();
                *left -= 1;
                if *left == 0 {
                    self.block = BlockPhase::Sleep;
                }
                true
            }
            BlockPhase::Sleep => false,
        }
    }

    /// Whether the moment was too short to be worth a look at the clock.
    fn pass(&mut self) -> bool {
        match self.strategy {
            AutoWaitStrategy::BusySpin => {}
            AutoWaitStrategy::BusySpinWithSpinLoopHint => spin_loop(),
            AutoWaitStrategy::SpinThenYield { spins } if self.rounds <= spins => spin_loop(),
            AutoWaitStrategy::SpinThenYield { .. } => {
                yield_now();
                return !self.rounds.is_multiple_of(YIELDS_PER_LOOK);
            }
            AutoWaitStrategy::Sleep(duration) => return self.sleep(duration),
            AutoWaitStrategy::Block => {}
        }
        true
    }

    fn sleep(&mut self, duration: Duration) -> bool {
        self.sleeps += 1;
        let duration = duration.min(self.liveness_interval.clamp(FIRST_LOOK, NAP_MAX));
        clock::sleep(
            self.deadline
                .remaining()
                .map_or(duration, |rest| rest.min(duration)),
        );
        false
    }

    fn look_at_clock(&mut self) -> Pause {
        let now = clock::now();
        let next_look = *self.next_look.get_or_insert(now + self.first_look());
        if self.deadline.has_passed() {
            return Pause::TimedOut;
        }
        if now >= next_look || buggify("wait.looks_around") {
            self.next_look = Some(now + self.liveness_interval);
            return Pause::LookAround;
        }
        if !matches!(self.block, BlockPhase::Sleep) {
            return Pause::Again;
        }
        self.sleeps += 1;
        let longest = next_look - now;
        Pause::Sleep(
            self.deadline
                .remaining()
                .map_or(longest, |rest| rest.min(longest)),
        )
    }

    /// Who sleeps is woken by who comes: it need not look up so soon.
    fn first_look(&self) -> Duration {
        match self.strategy {
            AutoWaitStrategy::Block => self.liveness_interval,
            _ => FIRST_LOOK.min(self.liveness_interval),
        }
    }
}

/// How long a program's own blocking loop sleeps between two looks: 50 µs, or `MYELON_BLOCK_STRATEGY_US`. The waits of
/// this crate's own calls sleep in the kernel until they are woken.
///
/// # Examples
///
/// ```
/// assert!(!disruptor_mp::default_block_strategy_duration().is_zero());
/// ```
pub fn default_block_strategy_duration() -> Duration {
    env::block_sleep()
}

/// How long `consume_next_with_sleep` sleeps between two looks: 50 µs, or `MYELON_CONSUME_SLEEP_US`.
///
/// # Examples
///
/// ```
/// assert!(!disruptor_mp::default_consume_sleep_duration().is_zero());
/// ```
pub fn default_consume_sleep_duration() -> Duration {
    env::consume_sleep()
}

/// How long discovery sleeps between two looks: 1 ms, or `MYELON_DISCOVERY_POLL_MS`.
///
/// # Examples
///
/// ```
/// assert!(!disruptor_mp::default_discovery_poll_duration().is_zero());
/// ```
pub fn default_discovery_poll_duration() -> Duration {
    env::discovery_poll()
}

/// Sleeps for [`default_block_strategy_duration`].
///
/// # Examples
///
/// ```
/// let mut looks = 0;
/// while looks < 2 {
///     looks += 1;
///     disruptor_mp::perform_default_block_wait();
/// }
/// ```
pub fn perform_default_block_wait() {
    perform_sleep_wait(default_block_strategy_duration());
}

/// Sleeps for [`default_consume_sleep_duration`].
///
/// # Examples
///
/// ```
/// let mut looks = 0;
/// while looks < 2 {
///     looks += 1;
///     disruptor_mp::perform_default_consume_sleep_wait();
/// }
/// ```
pub fn perform_default_consume_sleep_wait() {
    perform_sleep_wait(default_consume_sleep_duration());
}

/// Sleeps for [`default_discovery_poll_duration`].
///
/// # Examples
///
/// ```
/// let mut looks = 0;
/// while looks < 2 {
///     looks += 1;
///     disruptor_mp::perform_default_discovery_poll_wait();
/// }
/// ```
pub fn perform_default_discovery_poll_wait() {
    perform_sleep_wait(default_discovery_poll_duration());
}

/// Sleeps for `duration`; for zero it only yields.
///
/// # Examples
///
/// ```
/// disruptor_mp::perform_sleep_wait(std::time::Duration::from_micros(50));
/// ```
pub fn perform_sleep_wait(duration: Duration) {
    if duration.is_zero() {
        yield_now();
    } else {
        clock::sleep(duration);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::thread;

    use super::*;

    fn strategies(sleep: Duration) -> [AutoWaitStrategy; 5] {
        [
            AutoWaitStrategy::BusySpin,
            AutoWaitStrategy::BusySpinWithSpinLoopHint,
            AutoWaitStrategy::SpinThenYield { spins: 10 },
            AutoWaitStrategy::Sleep(sleep),
            AutoWaitStrategy::Block,
        ]
    }

    fn pass_until(waiter: &mut Waiter, end: Pause) {
        loop {
            match waiter.pause() {
                Pause::Sleep(longest) => thread::sleep(longest),
                pause if pause == end => return,
                _ => {}
            }
        }
    }

    #[test]
    fn every_strategy_ends_at_its_deadline() {
        for strategy in strategies(Duration::from_secs(60)) {
            let mut waiter = Waiter::new(
                &Habits::default(),
                strategy,
                Deadline::after(Duration::from_millis(5)),
                2,
            );
            pass_until(&mut waiter, Pause::TimedOut);
        }
    }

    #[test]
    fn who_has_a_core_of_its_own_spins_for_as_long_as_waking_up_takes() {
        let mut habits = Habits::default();
        // no test of this program pins it, and threads alone make no difference
        let cores = cpu::usable_cpus();
        assert_eq!(habits.spin_budget(cores), WAKE_COST_FIRST);
        assert_eq!(habits.spin_budget(cores + 1), Duration::ZERO);
        habits.learn(Some(WAKE_COST_MAX));
        assert_eq!(
            habits.spin_budget(1),
            (WAKE_COST_FIRST * 7 + WAKE_COST_MAX) / 8
        );
    }

    #[test]
    fn what_waking_up_takes_is_learnt_within_bounds() {
        let mut habits = Habits::default();
        habits.learn(None);
        assert_eq!(habits.wake_cost, WAKE_COST_FIRST, "nobody was woken");
        for _ in 0..100 {
            habits.learn(Some(Duration::from_secs(1)));
        }
        assert!(habits.wake_cost <= WAKE_COST_MAX && habits.wake_cost > WAKE_COST_MAX * 9 / 10);
        for _ in 0..100 {
            habits.learn(Some(Duration::ZERO));
        }
        assert!(habits.wake_cost < Duration::from_micros(1));
    }

    #[test]
    fn only_where_parties_outnumber_the_machines_cores_they_yield() {
        let cores = cpu::online_cpus();
        assert_eq!(Habits::yields(cores), 0);
        assert_eq!(Habits::yields(cores + 1), BLOCK_YIELDS);
    }

    /// Counts what a wait passes before it sleeps.
    #[test]
    fn a_crowd_yields_and_sleeps_without_a_spin() {
        let crowd = cpu::online_cpus() + 1;
        let habits = Habits::default();
        let mut waiter = Waiter::new(&habits, AutoWaitStrategy::Block, Deadline::NEVER, crowd);
        let passed = (0..).take_while(|_| waiter.pause() == Pause::Again).count();
        // the pause that finds that it must not spin, and each yield
        assert_eq!(passed, 1 + BLOCK_YIELDS as usize);
    }

    #[test]
    fn every_strategy_looks_around() {
        for strategy in strategies(Duration::from_micros(100)) {
            let mut waiter = Waiter::new(&Habits::default(), strategy, Deadline::NEVER, 2);
            for _ in 0..2 {
                pass_until(&mut waiter, Pause::LookAround);
            }
        }
    }
}
