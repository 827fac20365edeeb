//! How many instructions the hot calls execute: no more than they did when their limits were written down. A consumer
//! that may sleep, and one that is required, add at most a few to a publication, and no fence or locked instruction.
//!
//! The calls are those of a release build (`hot-paths/src/main.rs`), executed one instruction at a time.
#![cfg(all(target_os = "linux", target_arch = "x86_64", not(miri)))]

use std::sync::LazyLock;

use myelon_tests::tracer::{self, Executed, Traced};
use myelon_tests::waiters::wait_for_sleepers;
use myelon_tests::{Actor, HotPaths, World, skip};

/// How many instructions a consumer that may sleep, or one that is required, may add to a publication.
const MOST_MORE: u64 = 6;

static PROGRAM: LazyLock<String> = LazyLock::new(|| {
    let program = HotPaths::compile(env!("CARGO"), env!("CARGO_TARGET_TMPDIR")).program;
    program.display().to_string()
});

/// Whether this process may trace its children, and `membarrier` works, so that processes need no fence for sleepers.
fn can_run(test: &str) -> bool {
    const GLOBAL_EXPEDITED: libc::c_long = 1 << 1;
    // SAFETY: the arguments are numbers; the call only asks what is available.
    let barriers = unsafe { libc::syscall(libc::SYS_membarrier, 0, 0, 0) };
    if barriers & GLOBAL_EXPEDITED == 0 {
        skip(test, "no membarrier");
        return false;
    }
    let world = World::shared_memory(&PROGRAM);
    if let Some(error) = tracer::refusal(&world.actor()) {
        skip(test, &format!("ptrace: {error}"));
        return false;
    }
    true
}

/// A ring with a consumer that waits with this strategy, and is awake.
fn ring(world: &World, strategy: &str) -> (Actor, Actor) {
    let (mut tx, mut rx) = (world.actor(), world.actor());
    tx.ok("produce");
    rx.ok(&format!("consume {strategy}"));
    (tx, rx)
}

/// The instructions that a call executes.
fn executed(traced: &mut Traced<'_>, call: &str) -> Executed {
    traced.reach_marker(call).expect("the call begins");
    let executed = traced.count_to_breakpoint().expect("the call ends");
    traced.expect_ok();
    println!("{call} executes {} instructions", executed.count);
    executed
}

/// The number of instructions that a call executes once the producer knows how much space there is.
fn executed_often(traced: &mut Traced<'_>, call: &str) -> u64 {
    executed(traced, call);
    let counts = [0; 4].map(|_| {
        let Executed { count, heavy } = executed(traced, call);
        assert_eq!(heavy, None, "{call}");
        count
    });
    assert_eq!(counts, [counts[0]; 4], "{call}");
    counts[0]
}

#[test]
fn a_consumer_that_may_sleep_costs_a_publication_nothing() {
    if !can_run("a_consumer_that_may_sleep_costs_a_publication_nothing") {
        return;
    }
    let counts = ["spinning", "blocking"].map(|strategy| {
        let mut world = World::shared_memory(&PROGRAM);
        // the events are not read, so the name stays
        world.leaves_the_name();
        let (mut tx, _rx) = ring(&world, strategy);
        tx.ok("require");
        let mut traced = Traced::seize(&mut tx);
        ["publish", "manage"].map(|call| executed_often(&mut traced, call))
    });
    let [[spinning, managed_spinning], [blocking, managed_blocking]] = counts;
    println!("spinning, blocking: publish, publish_managed: {counts:?}");
    assert!(blocking <= spinning + MOST_MORE);
    assert!(managed_spinning <= spinning + MOST_MORE);
    assert!(managed_blocking <= blocking + MOST_MORE);
    assert!(spinning > 10, "that is no publication");
}

/// The calls of both sides, and how many instructions each executed when this was written. `send` takes two more than
/// it could, to keep a register over a wait: its slow half does not take the closure (`rfcs/0002`).
const CALLS: [(&str, u64); 4] = [("send", 49), ("claim", 61), ("recv", 52), ("lease", 48)];

#[test]
fn no_hot_call_executes_more_than_it_did() {
    if !can_run("no_hot_call_executes_more_than_it_did") {
        return;
    }
    let counts = CALLS.map(|(call, most)| {
        let mut world = World::shared_memory(&PROGRAM);
        world.leaves_the_name();
        let (mut tx, mut rx) = ring(&world, "spinning");
        tx.ok("fill");
        let is_of_consumer = matches!(call, "recv" | "lease");
        let mut traced = Traced::seize(if is_of_consumer { &mut rx } else { &mut tx });
        (call, executed_often(&mut traced, call), most)
    });
    for (call, count, most) in counts {
        assert!(count > 10, "{call} is no such call: {counts:?}");
        assert!(count <= most, "{call}: {counts:?}");
    }
}

/// Control: the same call in the same ring, while the consumer sleeps.
#[test]
fn a_wake_up_would_be_noticed() {
    if !can_run("a_wake_up_would_be_noticed") {
        return;
    }
    let world = World::shared_memory(&PROGRAM);
    let (mut tx, mut rx) = ring(&world, "blocking");
    let mut traced = Traced::seize(&mut tx);
    let awake = executed_often(&mut traced, "publish");
    for _ in 0..5 {
        rx.ok("receive");
    }
    rx.tell("receive");
    wait_for_sleepers(&world, 1);
    let wakes = executed(&mut traced, "publish");
    rx.expect_ok();
    assert!(wakes.count > awake + MOST_MORE, "{wakes:?}");
    assert_ne!(wakes.heavy, None, "nobody was woken");
}
