//! How a call waits: it spins, yields or sleeps, and from time to time it checks liveness.
//!
//! A publish or a consume that does not wait reaches nothing here (R12). Sleeping in the kernel follows R9.
//! Some sleepers are never woken: those that sleep by the clock, and those whose waker died before it woke
//! them. Their sleep ends after a bounded time, and they check again by themselves.

pub(crate) mod cancel;
pub(crate) mod check_timer;
pub(crate) mod deadline;
pub(crate) mod participants;
pub(crate) mod peer;
mod strategies;
pub(crate) mod wait_loop;

// after the others, so that its block is the last on the type's page
mod compat;

pub use compat::{
    default_block_strategy_duration, default_consume_sleep_duration,
    default_discovery_poll_duration, perform_default_block_wait,
    perform_default_consume_sleep_wait, perform_default_discovery_poll_wait, perform_sleep_wait,
};
pub use strategies::AutoWaitStrategy;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::testing::fail::buggify;
use cancel::{CancelToken, TokenEntry};
use check_timer::CheckTimer;
use deadline::Deadline;
use participants::Participants;
use peer::Peer;

use crate::clock;
use crate::region::Region;
use crate::sync::{spin_loop, yield_now};

/// How often a blocked call checks liveness, unless the builder sets another interval.
pub(crate) const LIVENESS_INTERVAL: Duration = Duration::from_millis(100);
/// Upper bound of that interval, a century: a longer one is as good as none, and an instant this far ahead
/// still fits the clock.
pub(crate) const LIVENESS_INTERVAL_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// Upper bound of one sleep by the clock, whatever the strategy says: no process wakes such a sleeper.
const CLOCK_SLEEP_MAX: Duration = Duration::from_millis(100);
/// Spins between two readings of the clock.
const SPINS_PER_CHECK: u32 = 256;
/// Yields between two readings of the clock: each can last as long as another process's time slice.
const YIELDS_PER_CHECK: u32 = 16;
/// Spins of `Block` between two readings of the clock: a fraction of a microsecond.
const BLOCK_SPINS_PER_CHECK: u32 = 16;
const BLOCK_YIELDS: u32 = 4;
/// This many spins of `Block` in vain, one after the other, may be chance. Each further one halves the share
/// of waits that spin...
const VAIN_SPINS: u32 = 8;
/// ...down to one wait in 64: 2 to the power of this.
const SPIN_EVERY_LOG: u32 = 6;
/// The cost of a wake-up that is assumed at first, and the highest that is assumed later.
const WAKE_COST_FIRST: Duration = Duration::from_micros(20);
const WAKE_COST_MAX: Duration = Duration::from_micros(100);
/// A measured cost above this is discarded: another process had the core, or the two sides read different clocks.
const WAKE_COST_PLAUSIBLE: Duration = Duration::from_millis(10);
/// Time until the first liveness check of a wait, unless it is a wait by `Block`. A shorter wait makes none.
pub(crate) const FIRST_CHECK: Duration = Duration::from_millis(1);

/// The next step of a waiting call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// Check again for what the call waits for.
    Again,
    /// Check liveness as well.
    CheckLiveness,
    /// Sleep in the kernel, for at most this long.
    Sleep(Duration),
    /// The deadline has passed.
    TimedOut,
}

/// How one endpoint waits, and what it has learnt from its earlier waits.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    pub(crate) strategy: AutoWaitStrategy,
    /// How often a blocked call checks liveness.
    pub(crate) liveness_interval: Duration,
    /// Cancelling any of these ends the endpoint's waits.
    pub(crate) cancels: Vec<CancelToken>,
    /// If set, the end of this ring ends the endpoint's waits, too.
    pub(crate) peer: Option<Peer>,
    /// The cost of a wake-up, from the waker's first store to the sleeper's first instruction: a moving average.
    wake_cost: Duration,
    spinning: Spinning,
}

/// Whether spinning pays, as waits by `Block` have found. The cores that a process may use say little about
/// it: two processes with a core each are as fast as two that may both use the same two cores, but the latter
/// can be down to one core at any moment.
#[derive(Clone, Copy, Debug, Default)]
struct Spinning {
    /// Waits that spun in vain since the last spin that paid.
    in_vain: u32,
    /// Waits without a spin since the last wait with one.
    without: u32,
    /// Whether the latest wait spins or has spun.
    is_on: bool,
    /// Whether the latest wait has slept.
    has_slept: bool,
}

impl Spinning {
    /// Whether the wait that begins now is to spin. Counts the result of the previous wait first.
    fn begin(&mut self) -> bool {
        if self.is_on {
            self.in_vain = if self.has_slept {
                self.in_vain.saturating_add(1)
            } else {
                0
            };
            self.without = 0;
        }
        let every = match self.in_vain.checked_sub(VAIN_SPINS) {
            None => 1,
            Some(more) => 2 << more.min(SPIN_EVERY_LOG - 1),
        };
        self.without += 1;
        self.is_on = self.without >= every;
        self.has_slept = false;
        self.is_on
    }
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            strategy: AutoWaitStrategy::default(),
            liveness_interval: LIVENESS_INTERVAL,
            cancels: Vec::new(),
            peer: None,
            wake_cost: WAKE_COST_FIRST,
            spinning: Spinning::default(),
        }
    }
}

impl Habits {
    /// Counts a sleep, and averages the cost of the wake-up if there was one. The clock of another time
    /// namespace is not used.
    pub(crate) fn learn(&mut self, wake: Option<Duration>) {
        self.spinning.has_slept = true;
        if let Some(cost) = wake.filter(|cost| *cost <= WAKE_COST_PLAUSIBLE) {
            self.wake_cost = (self.wake_cost * 7 + cost.min(WAKE_COST_MAX)) / 8;
        }
    }

    /// While the result is held, the cancel tokens wake every sleeper on this segment.
    pub(crate) fn enter_tokens(&self, region: &Arc<dyn Region>) -> Vec<TokenEntry> {
        self.cancels
            .iter()
            .map(|token| token.enter(region))
            .collect()
    }

    /// Whether a token was cancelled, or the ring whose end ends the waits was closed.
    pub(crate) fn are_cancelled(&self) -> bool {
        self.cancels.iter().any(CancelToken::is_cancelled) || self.is_peer_closed()
    }

    /// Whether the ring whose end ends the waits was closed.
    #[inline]
    pub(crate) fn is_peer_closed(&self) -> bool {
        self.peer.as_ref().is_some_and(Peer::is_closed)
    }

    /// How long a wait by `Block` spins. Spinning for longer than a wake-up takes costs more than it gains. With
    /// more participants than cores, a spinning call may occupy the very core that the awaited party needs.
    fn spin_budget(&mut self, participants: Participants) -> Duration {
        if participants.can_all_run() && self.spinning.begin() {
            self.wake_cost
        } else {
            Duration::ZERO
        }
    }

    /// How often a wait by `Block` yields before it sleeps. Where the participants outnumber the machine's
    /// cores, the awaited party may run on this very core as soon as the core is given up. Elsewhere an
    /// unrelated process would run there for a whole time slice: a call that sleeps has the core back when it
    /// is woken, but a call that has yielded waits for its turn.
    fn yields(participants: Participants) -> u32 {
        if participants.outnumber_cores() {
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
    timer: CheckTimer,
    block: BlockPhase,
    sleeps: u64,
}

/// The phase that a wait by `Block` has reached.
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
    pub(crate) fn new(
        habits: &mut Habits,
        strategy: AutoWaitStrategy,
        deadline: Deadline,
        participants: Participants,
    ) -> Self {
        Self {
            strategy,
            deadline,
            liveness_interval: habits.liveness_interval,
            rounds: 0,
            timer: CheckTimer::default(),
            block: BlockPhase::Spin {
                budget: habits.spin_budget(participants),
                until: None,
                yields: Habits::yields(participants),
            },
            sleeps: 0,
        }
    }

    /// Sets when the next liveness check is due, as an earlier wait left it.
    pub(crate) fn with_timer(mut self, timer: CheckTimer) -> Self {
        self.timer = timer;
        self
    }

    /// When the next liveness check is due. The timer does not run before the wait has read the clock.
    pub(crate) fn timer(&self) -> CheckTimer {
        self.timer
    }

    /// The same wait goes on, until `deadline`.
    pub(crate) fn set_deadline(&mut self, deadline: Deadline) {
        self.deadline = deadline;
    }

    /// Whether the wait spins before it sleeps.
    pub(crate) fn spins(&self) -> bool {
        match self.strategy {
            AutoWaitStrategy::Block => {
                matches!(self.block, BlockPhase::Spin { budget, .. } if !budget.is_zero())
            }
            strategy => strategy.spins(),
        }
    }

    /// How often the wait has slept since the last call of this method, for the counters.
    pub(crate) fn take_sleeps(&mut self) -> u64 {
        core::mem::take(&mut self.sleeps)
    }

    /// Spins, yields or sleeps by the clock once, and returns the caller's next step.
    pub(crate) fn pause(&mut self) -> Pause {
        self.rounds = self.rounds.wrapping_add(1);
        let spun = match self.strategy {
            AutoWaitStrategy::Block => self.pass_by_blocking(),
            _ => self.pass(),
        };
        if spun && !self.rounds.is_multiple_of(SPINS_PER_CHECK) {
            return Pause::Again;
        }
        self.read_clock()
    }

    /// Makes one step of a wait by `Block`. True: the step was too short to be worth a reading of the clock.
    fn pass_by_blocking(&mut self) -> bool {
        match &mut self.block {
            BlockPhase::Spin {
                budget,
                until,
                yields,
            } => {
                if !budget.is_zero() {
                    spin_loop();
                    if !self.rounds.is_multiple_of(BLOCK_SPINS_PER_CHECK) {
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

    /// Makes one step of a wait by another strategy. True: the step was too short to be worth a reading of the clock.
    fn pass(&mut self) -> bool {
        match self.strategy {
            AutoWaitStrategy::BusySpin => {}
            AutoWaitStrategy::BusySpinWithSpinLoopHint => spin_loop(),
            AutoWaitStrategy::SpinThenYield { spins } if self.rounds as usize <= spins => {
                spin_loop();
            }
            AutoWaitStrategy::SpinThenYield { .. } => {
                yield_now();
                return !self.rounds.is_multiple_of(YIELDS_PER_CHECK);
            }
            AutoWaitStrategy::Sleep(duration) => return self.sleep(duration),
            AutoWaitStrategy::Block => {}
        }
        true
    }

    fn sleep(&mut self, duration: Duration) -> bool {
        self.sleeps += 1;
        let duration = duration.min(self.liveness_interval.clamp(FIRST_CHECK, CLOCK_SLEEP_MAX));
        clock::sleep(
            self.deadline
                .remaining()
                .map_or(duration, |rest| rest.min(duration)),
        );
        false
    }

    fn read_clock(&mut self) -> Pause {
        let now = clock::now();
        let first = self.first_check();
        let longest = self.timer.left(now, first);
        if self.deadline.has_passed() {
            return Pause::TimedOut;
        }
        if longest.is_zero() || buggify("wait.checks_liveness") {
            self.timer.restart(now, self.liveness_interval);
            return Pause::CheckLiveness;
        }
        if !matches!(self.block, BlockPhase::Sleep) {
            return Pause::Again;
        }
        self.sleeps += 1;
        Pause::Sleep(
            self.deadline
                .remaining()
                .map_or(longest, |rest| rest.min(longest)),
        )
    }

    /// Time until the first liveness check. A call by `Block` sleeps until the other side wakes it, so it
    /// need not check so soon.
    fn first_check(&self) -> Duration {
        match self.strategy {
            AutoWaitStrategy::Block => self.liveness_interval,
            _ => FIRST_CHECK.min(self.liveness_interval),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::thread;

    use super::*;
    use crate::os::cpu;

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
                &mut Habits::default(),
                strategy,
                Deadline::after(Duration::from_millis(5)),
                Participants::here(2),
            );
            pass_until(&mut waiter, Pause::TimedOut);
        }
    }

    /// A check costs system calls, which a short wait must not pay.
    #[test]
    fn the_first_liveness_check_is_not_at_once() {
        for strategy in strategies(Duration::from_micros(100)) {
            let mut waiter = Waiter::new(
                &mut Habits::default(),
                strategy,
                Deadline::NEVER,
                Participants::here(2),
            );
            let (started, first) = (clock::now(), waiter.first_check());
            assert!(!first.is_zero());
            pass_until(&mut waiter, Pause::CheckLiveness);
            assert!(started.elapsed() >= first, "{strategy:?}");
        }
    }

    #[test]
    fn a_thread_with_a_core_of_its_own_spins_for_as_long_as_a_wake_up_takes() {
        let mut habits = Habits::default();
        let cores = cpu::online_cpus().min(cpu::quota());
        assert_eq!(
            habits.spin_budget(Participants::here(cores)),
            WAKE_COST_FIRST
        );
        assert_eq!(
            habits.spin_budget(Participants::here(cores + 1)),
            Duration::ZERO
        );
        habits.learn(Some(WAKE_COST_MAX));
        assert_eq!(
            habits.spin_budget(Participants::here(1)),
            (WAKE_COST_FIRST * 7 + WAKE_COST_MAX) / 8
        );
    }

    /// Runs `waits` waits of a single participant, each of which sleeps or not, and counts those that spin.
    fn spins(habits: &mut Habits, waits: usize, sleeps: bool) -> usize {
        let wait = |_| {
            let has_spun = !habits.spin_budget(Participants::here(1)).is_zero();
            if sleeps || !has_spun {
                habits.learn(None);
            }
            has_spun
        };
        (0..waits).map(wait).filter(|spun| *spun).count()
    }

    #[test]
    fn spins_in_vain_become_rare_and_one_that_pays_brings_them_back() {
        let mut habits = Habits::default();
        assert_eq!(spins(&mut habits, 1000, false), 1000);
        assert_eq!(spins(&mut habits, 8, true), 8, "may be chance");
        // one in 2, 4, 8, 16, 32
        assert_eq!(spins(&mut habits, 62, true), 5);
        assert_eq!(spins(&mut habits, 640, true), 10);
        // the next spin that is tried pays
        assert!(spins(&mut habits, 200, false) > 200 - 64);
        assert_eq!(spins(&mut habits, 1000, false), 1000);
    }

    #[test]
    fn spins_that_pay_now_and_then_go_on() {
        let mut habits = Habits::default();
        for _ in 0..100 {
            assert_eq!(spins(&mut habits, VAIN_SPINS as usize - 1, true), 7);
            assert_eq!(spins(&mut habits, 1, false), 1);
        }
    }

    #[test]
    fn what_another_clock_says_is_not_learnt() {
        let mut habits = Habits::default();
        habits.learn(Some(Duration::from_secs(3600)));
        assert_eq!(habits.wake_cost, WAKE_COST_FIRST);
    }

    #[test]
    fn what_waking_up_takes_is_learnt_within_bounds() {
        let mut habits = Habits::default();
        habits.learn(None);
        assert_eq!(habits.wake_cost, WAKE_COST_FIRST, "nobody was woken");
        for _ in 0..100 {
            habits.learn(Some(Duration::from_millis(1)));
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
        assert_eq!(Habits::yields(Participants::here(cores)), 0);
        assert_eq!(Habits::yields(Participants::here(cores + 1)), BLOCK_YIELDS);
    }

    /// Counts the steps of a wait before it sleeps.
    #[test]
    fn a_crowd_yields_and_sleeps_without_a_spin() {
        let crowd = Participants::here(cpu::online_cpus() + 1);
        let mut habits = Habits::default();
        let mut waiter = Waiter::new(&mut habits, AutoWaitStrategy::Block, Deadline::NEVER, crowd);
        let passed = (0..).take_while(|_| waiter.pause() == Pause::Again).count();
        // the pause that finds that it must not spin, and each yield
        assert_eq!(passed, 1 + BLOCK_YIELDS as usize);
    }

    #[test]
    fn every_strategy_makes_liveness_checks() {
        for strategy in strategies(Duration::from_micros(100)) {
            let mut waiter = Waiter::new(
                &mut Habits::default(),
                strategy,
                Deadline::NEVER,
                Participants::here(2),
            );
            for _ in 0..2 {
                pass_until(&mut waiter, Pause::CheckLiveness);
            }
        }
    }
}
