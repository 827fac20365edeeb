//! Fail points: named steps of the protocol at which a test ends, stops or delays a process.
//!
//! Fail points are compiled in only with the feature `fail-points` and debug assertions, so that no release
//! build has any. The environment variable `MYELON_FAIL_POINT=<name>:<n>:<action>` arms one, and so does
//! `arm_fail_points` later: when the process comes to the point for the n-th time (from 1), `kill`, `stop`,
//! `delay` or `trap` (a signal for a tracer) happens there. With `jitter` the process takes a short pause
//! there each time from the n-th time on, and each pause is a different one. Commas separate several fail
//! points: one to bring about a race, another to end it. A negative control leaves a step of the protocol out
//! altogether: `MYELON_LEFT_OUT=<step>`, with the steps' names from the loom models.
//!
//! In simulations (feature `dst`) and in loom models, a task may be interrupted or die at the same points.

/// A step. Does nothing in ordinary builds. The crate of sessions has steps, too.
#[cfg(not(all(test, loom)))]
#[inline(always)]
#[allow(unused_variables, reason = "ordinary builds do not use the name")]
pub fn point(name: &'static str) {
    #[cfg(all(feature = "fail-points", debug_assertions, not(loom)))]
    armed::point(name);
    #[cfg(all(feature = "dst", not(loom)))]
    crate::testing::dst::point(name);
}

/// Whether a negative control leaves this step of the protocol out.
#[cfg(all(
    not(loom),
    any(feature = "dst", all(feature = "fail-points", debug_assertions))
))]
pub(crate) fn is_left_out(step: &str) -> bool {
    #[cfg(feature = "dst")]
    if crate::testing::dst::is_left_out(step) {
        return true;
    }
    #[cfg(all(feature = "fail-points", debug_assertions))]
    if armed::is_left_out(step) {
        return true;
    }
    false
}

#[cfg(all(test, loom))]
pub(crate) use crate::testing::loom_tests::point;

/// Marks a rare branch that simulations must reach. Does nothing in other builds.
#[cfg(not(all(feature = "dst", not(loom))))]
#[inline(always)]
pub(crate) fn reached(_mark: &'static str) {}

/// Whether a simulation wants a rare but allowed thing to happen here. False in other builds.
#[cfg(not(all(feature = "dst", not(loom))))]
#[inline(always)]
pub(crate) fn buggify(_name: &'static str) -> bool {
    false
}

/// A place where a simulation may delay this process. Does nothing in other builds.
#[cfg(not(all(feature = "dst", not(loom))))]
#[inline(always)]
pub(crate) fn delay(_name: &'static str) {}

#[cfg(all(feature = "dst", not(loom)))]
pub(crate) use crate::testing::dst::{buggify, delay, reached};

/// All fail points, in the order of the protocol's steps. A sweep goes through this list.
#[cfg(feature = "fail-points")]
pub const FAIL_POINTS: &[&str] = &[
    "create.nameless",
    "create.reserved",
    "create.locked",
    "create.written",
    "create.temporary",
    "create.two_names",
    "create.linked",
    "leftovers.locked",
    "leftovers.removed",
    "publish.claimed",
    "publish.busy",
    "publish.written",
    "publish.stamped",
    "batch.claimed",
    "batch.written",
    "batch.stamped",
    "batch.published",
    "refresh.scanned",
    "refresh.floor",
    "refresh.fenced",
    "refresh.gate",
    "attach.id_locked",
    "take.checked",
    "take.passed",
    "join.locked",
    "join.bit",
    "join.joining",
    "join.id",
    "join.sequence",
    "join.settling",
    "join.reread",
    "join.active",
    "rejoin.locked",
    "rejoin.owner",
    "rejoin.active",
    "hold.kept",
    "commit.before",
    "commit.after",
    "leave.free",
    "leave.bit",
    "leave.unlocked",
    "away.state",
    "away.unlocked",
    "evict.checked",
    "evict.locked",
    "evict.free",
    "remove.id_locked",
    "remove.locked",
    "remove.unlocked",
    "reserve.id_locked",
    "reserve.away",
    "reserve.unlocked",
    "close.kept",
    "close.closed",
    "close.synced",
    "close.unlinked",
    "close.unlocked",
    "unlink.checked",
    "drain.locked",
    "drain.unlinked",
    "drain.unlocked",
    "sleep.word",
    "sleep.bit",
    "sleep.fenced",
    "sleep.checked",
    "sleep.over",
    "sleep.space_word",
    "sleep.wish",
    "sleep.space_fenced",
    "sleep.space_checked",
    "sleep.space_over",
    "readiness.drained",
    "readiness.ordered",
    "sentry.ordered",
    "sentry.seen",
    "wake.taken",
    "wake.bumped",
    "wake.woken",
    "wake.wish_taken",
    "wake.space_bumped",
    "wake.space_woken",
    "settle.begun",
    "settle.counted",
    "settle.moved",
    "settle.line",
    "settle.slot",
    "settle.cleared",
    "settle.floor",
    "settle.opened",
    "settle.vouched",
    "takeover.locked",
    "takeover.epoch",
    "takeover.unclosed",
    "takeover.opened",
    "takeover.head",
    "takeover.cleared_one",
    "takeover.cleared",
    "takeover.owner",
    "replace.locked",
    "replace.unlinked",
    "counters.read",
    "counters.opened",
    "counters.held",
    "session.opened",
    "session.numbered",
    "session.sent",
    "session.noted",
    "session.answered",
    "session.kept",
    "session.own_ended",
    "session.closed",
    "session.left",
];

#[cfg(all(feature = "fail-points", debug_assertions, not(loom)))]
pub use armed::{arm_fail_points, fail_points_fired, fail_points_passed};

#[cfg(all(feature = "fail-points", debug_assertions, not(loom)))]
mod armed {
    use std::sync::{Mutex, OnceLock, PoisonError};
    use std::time::{Duration, Instant};

    use nix::sys::signal::{Signal, raise};

    use crate::sync::process::{AtomicU64, Ordering};

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Action {
        Kill,
        Stop,
        Delay,
        Trap,
        Jitter,
    }

    /// The longest pause of a jitter.
    const JITTER_MAX_US: u64 = 250;

    struct Arming {
        name: String,
        /// The pass, from 1, at which the action happens.
        at: u64,
        /// How often the process has come to the point.
        passes: u64,
        action: Action,
    }

    /// The fail points that are armed in this process.
    struct Armed {
        armings: Mutex<Vec<Arming>>,
        /// How many of them have not acted yet. In a process without any, a point costs one load.
        waiting: AtomicU64,
        fired: AtomicU64,
    }

    fn armed() -> &'static Armed {
        static ARMED: OnceLock<Armed> = OnceLock::new();
        ARMED.get_or_init(|| {
            let armings =
                std::env::var("MYELON_FAIL_POINT").map_or_else(|_| Vec::new(), |text| parse(&text));
            Armed {
                waiting: AtomicU64::new(armings.len() as u64),
                armings: Mutex::new(armings),
                fired: AtomicU64::new(0),
            }
        })
    }

    /// Arms this process anew, as `MYELON_FAIL_POINT` does at its start; passes are counted from now on.
    ///
    /// # Panics
    ///
    /// When the text is malformed, or names a point or an action that does not exist.
    pub fn arm_fail_points(text: &str) {
        let (armed, armings) = (armed(), parse(text));
        let mut place = armed.armings.lock().unwrap_or_else(PoisonError::into_inner);
        armed.waiting.store(armings.len() as u64, Ordering::Relaxed);
        *place = armings;
    }

    /// How many armed points have acted in this process.
    pub fn fail_points_fired() -> u64 {
        armed().fired.load(Ordering::Relaxed)
    }

    /// How often this process has come to each armed point, up to the pass at which the point acts.
    pub fn fail_points_passed() -> Vec<(String, u64)> {
        let armings = armed()
            .armings
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let passed = armings
            .iter()
            .map(|arming| (arming.name.clone(), arming.passes));
        passed.collect()
    }

    /// Whether this step is left out. A control with the name of no step leaves nothing out, finds no fault,
    /// and so fails.
    pub(crate) fn is_left_out(step: &str) -> bool {
        static LEFT_OUT: OnceLock<Option<String>> = OnceLock::new();
        let left_out = LEFT_OUT.get_or_init(|| std::env::var("MYELON_LEFT_OUT").ok());
        left_out.as_deref() == Some(step)
    }

    /// Parses `name:n:action`, or several with commas in between. Panics if the text names a point or an
    /// action that does not exist, so that a test with a wrong name does not pass.
    fn parse(text: &str) -> Vec<Arming> {
        text.split(',').map(parse_one).collect()
    }

    fn parse_one(text: &str) -> Arming {
        let parts: Vec<&str> = text.split(':').collect();
        let [name, at, action] = parts[..] else {
            panic!("fail point '{text}': want name:n:action")
        };
        assert!(
            super::FAIL_POINTS.contains(&name),
            "fail point '{text}': no such point"
        );
        let action = match action {
            "kill" => Action::Kill,
            "stop" => Action::Stop,
            "delay" => Action::Delay,
            "trap" => Action::Trap,
            "jitter" => Action::Jitter,
            other => panic!("fail point '{text}': no such action: {other}"),
        };
        let at = at
            .parse()
            .unwrap_or_else(|_| panic!("fail point '{text}': no such number"));
        Arming {
            name: name.to_owned(),
            at,
            passes: 0,
            action,
        }
    }

    /// Acts if this point is armed for this pass.
    pub(crate) fn point(name: &'static str) {
        let armed = armed();
        if armed.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let Some((action, pass)) = due(armed, name) else {
            return;
        };
        if action != Action::Jitter {
            armed.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        armed.fired.fetch_add(1, Ordering::Relaxed);
        match action {
            Action::Kill => {
                let _ = raise(Signal::SIGKILL);
            }
            Action::Stop => {
                let _ = raise(Signal::SIGSTOP);
            }
            Action::Delay => crate::os::clock::sleep(Duration::from_millis(20)),
            Action::Trap => {
                let _ = raise(Signal::SIGTRAP);
            }
            Action::Jitter => jitter(pass),
        }
    }

    /// Makes the pause of this pass, which is the same in each run. Half of the pauses spin, as a sleep is
    /// never as short as those can be.
    fn jitter(pass: u64) {
        let mut random = fastrand::Rng::with_seed(pass);
        let pause = Duration::from_micros(random.u64(0..=JITTER_MAX_US));
        let start = Instant::now();
        if random.bool() {
            crate::os::clock::sleep(pause);
        }
        while start.elapsed() < pause {
            std::hint::spin_loop();
        }
    }

    /// Counts this pass. Returns the action that is due at it, if any, and the number of the pass.
    fn due(armed: &Armed, name: &str) -> Option<(Action, u64)> {
        let mut armings = armed.armings.lock().unwrap_or_else(PoisonError::into_inner);
        let is_open =
            |arming: &&mut Arming| arming.action == Action::Jitter || arming.passes < arming.at;
        let arming = armings
            .iter_mut()
            .filter(is_open)
            .find(|arming| arming.name == name)?;
        arming.passes += 1;
        (arming.passes >= arming.at).then_some((arming.action, arming.passes))
    }
}
