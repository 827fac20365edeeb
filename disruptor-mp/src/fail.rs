//! Fail points: named steps of the protocol at which a test ends, stops or delays a process.
//!
//! Compiled in only with the feature `fail-points` and debug assertions, so that no release build holds any of it.
//! Armed by the environment variable `MYELON_FAIL_POINT=<name>:<n>:<action>`: at the n-th time (from 1) that the
//! process comes to the point, `kill`, `stop` or `delay` happens there.
//!
//! In simulations (feature `dst`) and in the models of loom the same points are where a task may be interrupted or die.

/// A step. Nothing in ordinary builds.
#[cfg(not(all(test, loom)))]
#[inline(always)]
#[allow(unused_variables, reason = "ordinary builds do not look at the name")]
pub(crate) fn point(name: &'static str) {
    #[cfg(all(feature = "fail-points", debug_assertions, not(loom)))]
    armed::point(name);
    #[cfg(all(feature = "dst", not(loom)))]
    crate::dst::point(name);
}

#[cfg(all(test, loom))]
pub(crate) use crate::protocol::loom_tests::point;

/// A rare branch that simulations have to come by. Nothing in other builds.
#[cfg(not(all(feature = "dst", not(loom))))]
#[inline(always)]
pub(crate) fn reached(_mark: &'static str) {}

/// Whether a simulation wants the rare, allowed thing to happen here. In other builds `false`.
#[cfg(not(all(feature = "dst", not(loom))))]
#[inline(always)]
pub(crate) fn buggify(_name: &'static str) -> bool {
    false
}

/// Where a simulation may hold this process up. Nothing in other builds.
#[cfg(not(all(feature = "dst", not(loom))))]
#[inline(always)]
pub(crate) fn delay(_name: &'static str) {}

#[cfg(all(feature = "dst", not(loom)))]
pub(crate) use crate::dst::{buggify, delay, reached};

/// Every fail point there is, in the order of the protocol's steps. A sweep goes through this list.
#[cfg(feature = "fail-points")]
pub const FAIL_POINTS: &[&str] = &[
    "create.nameless",
    "create.reserved",
    "create.locked",
    "create.written",
    "create.linked",
    "publish.claimed",
    "publish.written",
    "publish.stamped",
    "batch.written",
    "batch.stamped",
    "batch.published",
    "refresh.scanned",
    "refresh.floor",
    "refresh.fenced",
    "refresh.gate",
    "join.locked",
    "join.bit",
    "join.joining",
    "join.sequence",
    "join.settling",
    "join.reread",
    "join.active",
    "rejoin.locked",
    "rejoin.active",
    "commit.before",
    "commit.after",
    "leave.free",
    "leave.bit",
    "leave.unlocked",
    "away.state",
    "away.unlocked",
    "evict.locked",
    "evict.free",
    "close.closed",
    "close.unlinked",
    "close.unlocked",
    "drain.locked",
    "drain.unlinked",
    "takeover.locked",
    "takeover.epoch",
    "takeover.opened",
    "takeover.head",
    "takeover.cleared_one",
    "takeover.cleared",
    "takeover.owner",
    "replace.locked",
    "replace.unlinked",
];

#[cfg(all(feature = "fail-points", debug_assertions, not(loom)))]
mod armed {
    use std::sync::OnceLock;
    use std::time::Duration;

    use nix::sys::signal::{Signal, raise};

    use crate::sync::process::{AtomicU64, Ordering};

    enum Action {
        Kill,
        Stop,
        Delay,
    }

    struct Arming {
        name: String,
        at: u64,
        action: Action,
    }

    fn arming() -> Option<&'static Arming> {
        static ARMING: OnceLock<Option<Arming>> = OnceLock::new();
        ARMING
            .get_or_init(|| Some(parse(&std::env::var("MYELON_FAIL_POINT").ok()?)))
            .as_ref()
    }

    /// A test that arms what does not exist must not pass.
    fn parse(text: &str) -> Arming {
        let parts: Vec<&str> = text.split(':').collect();
        let [name, at, action] = parts[..] else {
            panic!("MYELON_FAIL_POINT={text}: want name:n:action")
        };
        assert!(
            super::FAIL_POINTS.contains(&name),
            "MYELON_FAIL_POINT={text}: no such point"
        );
        let action = match action {
            "kill" => Action::Kill,
            "stop" => Action::Stop,
            "delay" => Action::Delay,
            other => panic!("MYELON_FAIL_POINT={text}: no such action: {other}"),
        };
        let at = at
            .parse()
            .unwrap_or_else(|_| panic!("MYELON_FAIL_POINT={text}: no such number"));
        Arming {
            name: name.to_owned(),
            at,
            action,
        }
    }

    /// Acts if this is the armed point at the armed time.
    pub(crate) fn point(name: &'static str) {
        static REACHED: AtomicU64 = AtomicU64::new(0);
        let Some(arming) = arming() else { return };
        if arming.name != name || REACHED.fetch_add(1, Ordering::Relaxed) + 1 != arming.at {
            return;
        }
        match arming.action {
            Action::Kill => {
                let _ = raise(Signal::SIGKILL);
            }
            Action::Stop => {
                let _ = raise(Signal::SIGSTOP);
            }
            Action::Delay => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
