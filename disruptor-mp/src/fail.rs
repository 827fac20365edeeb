//! Fail points: named steps of the protocol at which a test ends, stops or delays a process.
//!
//! Compiled in only with the feature `fail-points` and debug assertions, so that no release build holds any of it.
//! Armed by the environment variable `MYELON_FAIL_POINT=<name>:<n>:<action>`: at the n-th time (from 1) that the
//! process comes to the point, `kill`, `stop` or `delay` happens there.

/// Marks a step. Nothing in ordinary builds.
#[cfg(not(any(
    all(feature = "fail-points", debug_assertions, not(loom)),
    all(test, loom)
)))]
#[inline(always)]
pub(crate) fn point(_name: &'static str) {}

#[cfg(all(feature = "fail-points", debug_assertions, not(loom)))]
pub(crate) use armed::point;

#[cfg(all(test, loom))]
pub(crate) use crate::protocol::loom_tests::point;

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
