//! The environment variables. Each does what `docs/operations.md` says. A value that is no number, or names
//! no strategy, is reported and ignored.
//!
//! The variables are read once. So each test starts a child, which is this program again, and reads the
//! child's answers.
#![cfg(target_os = "linux")]

mod warnings;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use disruptor_mp::{AutoWaitStrategy, HeapRing, RequiredConsumerLivenessConfig};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::{Pid, gettid};
use warnings::Warnings;

const VARIABLES: [&str; 10] = [
    "MYELON_PRODUCER_CORE",
    "MYELON_CONSUMER_CORE",
    "MYELON_PROCESS_CORE",
    "MYELON_AUTO_CONSUMER_CORE",
    "MYELON_SHUTDOWN_GRACE_MS",
    "MYELON_BLOCK_STRATEGY_US",
    "MYELON_DISCOVERY_POLL_MS",
    "MYELON_CONSUME_SLEEP_US",
    "MYELON_AUTO_WAIT_DELAY_NS",
    "MYELON_WAIT_STRATEGY",
];

/// The variable that tells a child of this program what to report.
const ASKED: &str = "ENVIRONMENT_TEST_ASKS";
/// The start of each line of its answer.
const ANSWER: &str = "answer ";
/// How often a handler thread has to sleep before the test accepts that it sleeps.
const SLEEPS: u64 = 20;
/// No test takes nearly as long.
const PATIENT: Duration = Duration::from_secs(60);

type Answers = BTreeMap<String, String>;

/// The answers of a child that has only these of the variables.
fn child<V: AsRef<OsStr>>(asked: &str, variables: &[(&str, V)]) -> Answers {
    let mut child = Command::new(std::env::current_exe().expect("own path"));
    child.args(["--exact", "--nocapture", "as_a_child"]);
    for variable in VARIABLES {
        child.env_remove(variable);
    }
    let output = child
        .env(ASKED, asked)
        .envs(variables.iter().map(|(variable, value)| (variable, value)))
        .output()
        .expect("a child");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{output:?}");
    said.lines()
        .filter_map(|line| line.split_once(ANSWER)?.1.split_once('='))
        .map(|(what, value)| (what.to_owned(), value.to_owned()))
        .collect()
}

fn answer(what: &str, value: impl std::fmt::Debug) {
    println!("\n{ANSWER}{what}={value:?}");
}

#[test]
fn as_a_child() {
    match std::env::var(ASKED).as_deref() {
        Ok("durations") => say_durations(),
        Ok("cores") => say_cores(),
        Ok("handler") => say_how_a_handler_waits(),
        Ok("strategy") => say_strategy(),
        _ => {}
    }
}

fn say_durations() {
    let warnings = Warnings::default();
    tracing::subscriber::with_default(warnings.clone(), || {
        let grace = RequiredConsumerLivenessConfig::default().shutdown_grace_period;
        answer("MYELON_SHUTDOWN_GRACE_MS", grace);
        let block = disruptor_mp::default_block_strategy_duration();
        answer("MYELON_BLOCK_STRATEGY_US", block);
        let poll = disruptor_mp::default_discovery_poll_duration();
        answer("MYELON_DISCOVERY_POLL_MS", poll);
        let sleep = disruptor_mp::default_consume_sleep_duration();
        answer("MYELON_CONSUME_SLEEP_US", sleep);
        // read once: a second call reports nothing more
        let _ = disruptor_mp::default_consume_sleep_duration();
    });
    answer("warnings", warnings.texts().join(""));
}

fn say_strategy() {
    let warnings = Warnings::default();
    tracing::subscriber::with_default(warnings.clone(), || {
        let unset = AutoWaitStrategy::SpinThenYield { spins: 7 };
        answer("strategy", AutoWaitStrategy::from_env_or(unset));
        // read once: another call returns the same value and reports nothing more
        let again = AutoWaitStrategy::from_env_or(unset);
        answer("again", again);
    });
    answer("warnings", warnings.texts().join(""));
}

/// The cores that a thread may run on; 0 means the calling thread.
fn cores_of(thread: i32) -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(thread)).expect("its cores");
    (0..CpuSet::count())
        .filter(|&core| set.is_set(core).unwrap_or(false))
        .collect()
}

/// Reports the cores of the threads that build each kind of endpoint, each on a thread of its own.
fn say_cores() {
    let ring = HeapRing::<u64>::new(8).expect("a ring");
    std::thread::scope(|scope| {
        let built = scope.spawn(|| (ring.producer(), cores_of(0)));
        let (outcome, cores) = built.join().expect("a producer's thread");
        answer("producer", cores);
        let error = outcome.as_ref().err();
        answer("error", error.map(ToString::to_string));
        let built = scope.spawn(|| ring.consumer("reader").map(|_rx| cores_of(0)));
        if let Ok(cores) = built.join().expect("a consumer's thread") {
            answer("consumer", cores);
        }
        let (seen, cores) = mpsc::channel();
        let handler = ring.builder().handle_events_with(move |_, _, _| {
            let _ = seen.send(cores_of(0));
        });
        if let (Ok(mut tx), Ok(handler)) = (outcome, handler) {
            tx.publish_value(7);
            answer("handler", cores.recv().expect("an event"));
            handler.shutdown_and_join().expect("ends");
        }
    });
    answer("caller", cores_of(0));
}

/// Reports how often the handler thread of a strategy that never sleeps has slept, and in what time.
fn say_how_a_handler_waits() {
    let ring = HeapRing::<u64>::new(8).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    let (seen, thread) = mpsc::channel();
    let handler = ring
        .builder()
        .with_liveness_interval(PATIENT)
        .handle_events_batch(
            move |_, _, _| {
                let _ = seen.send(gettid().as_raw());
            },
            AutoWaitStrategy::BusySpin,
        )
        .expect("a handler");
    tx.publish_value(7);
    let thread = thread.recv().expect("its thread");
    let (begun, slept_before) = (Instant::now(), sleeps_of(thread));
    // without the variable the handler never sleeps, so that a short observation is enough
    let end = match std::env::var_os("MYELON_AUTO_WAIT_DELAY_NS") {
        Some(_) => begun + PATIENT,
        None => begun + Duration::from_millis(200),
    };
    let mut slept = 0;
    while slept < SLEEPS && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
        slept = sleeps_of(thread) - slept_before;
    }
    let took = begun.elapsed();
    answer("sleeps", slept);
    answer("took_ns", took.as_nanos());
    handler.shutdown_and_join().expect("ends");
}

/// How often a thread of this process has voluntarily given up its core.
fn sleeps_of(thread: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/self/task/{thread}/status"));
    let status = status.expect("its status");
    let line = |it: &&str| it.starts_with("voluntary_ctxt_switches");
    let line = status.lines().find(line).expect("the count");
    let count = line.split_whitespace().last();
    count.and_then(|it| it.parse().ok()).expect("a number")
}

/// The duration variables that a program can query: the name, the default, and the duration for the value 7.
const DURATIONS: [(&str, &str, &str); 4] = [
    ("MYELON_SHUTDOWN_GRACE_MS", "1s", "7ms"),
    ("MYELON_BLOCK_STRATEGY_US", "50µs", "7µs"),
    ("MYELON_DISCOVERY_POLL_MS", "1ms", "7ms"),
    ("MYELON_CONSUME_SLEEP_US", "50µs", "7µs"),
];

#[test]
fn durations_have_defaults_and_each_variable_sets_its_own() {
    let unset = child::<&str>("durations", &[]);
    for (variable, default, _) in DURATIONS {
        assert_eq!(unset[variable], default, "{variable}");
    }
    assert_eq!(unset["warnings"], "\"\"");
    for (set, _, seven) in DURATIONS {
        let answers = child("durations", &[(set, " 7 ")]);
        for (variable, default, _) in DURATIONS {
            let expected = if variable == set { seven } else { default };
            assert_eq!(answers[variable], expected, "{variable} with {set}");
        }
        assert_eq!(answers["warnings"], "\"\"");
    }
}

#[test]
fn what_is_no_number_is_reported_once_and_ignored() {
    let bads = [
        b"".as_slice(),
        b"a few",
        b"-1",
        b"1.5",
        b"7us",
        b"99999999999999999999",
        b"7\xFF",
    ];
    for bad in bads.map(OsStr::from_bytes) {
        let bads = DURATIONS.map(|(variable, ..)| (variable, bad));
        let answers = child("durations", &bads);
        for (variable, default, _) in DURATIONS {
            assert_eq!(answers[variable], default, "{variable} with {bad:?}");
            let reported = answers["warnings"].matches(variable);
            assert_eq!(reported.count(), 1, "{bad:?}: {}", answers["warnings"]);
        }
    }
}

/// If only one core is allowed, every thread is on it anyway, and this test shows little.
#[test]
fn each_core_variable_pins_the_thread_that_it_names() {
    let all = cores_of(0);
    let last = *all.last().expect("a core");
    let (all, pinned) = (format!("{all:?}"), format!("{:?}", [last]));
    let last = last.to_string();
    let kinds = ["producer", "consumer", "handler", "caller"];
    let unset = child::<&str>("cores", &[]);
    for kind in kinds {
        assert_eq!(unset[kind], all, "{kind} of nobody who was pinned");
    }
    for (variable, named) in [
        ("MYELON_PRODUCER_CORE", "producer"),
        ("MYELON_CONSUMER_CORE", "consumer"),
        ("MYELON_AUTO_CONSUMER_CORE", "handler"),
    ] {
        let answers = child("cores", &[(variable, &last)]);
        for kind in kinds {
            let expected = if kind == named { &pinned } else { &all };
            assert_eq!(answers[kind], *expected, "{kind} with {variable}");
        }
    }
    let answers = child("cores", &[("MYELON_PROCESS_CORE", &last)]);
    for kind in kinds {
        assert_eq!(answers[kind], pinned, "{kind}, as the whole process");
    }
}

#[test]
fn a_core_that_there_is_not_is_an_error_and_one_that_is_no_number_is_ignored() {
    for (variable, core) in [
        ("MYELON_PRODUCER_CORE", "1000000"),
        ("MYELON_PROCESS_CORE", "1000000"),
    ] {
        let error = &child("cores", &[(variable, core)])["error"];
        assert!(error.contains("could not pin to a core"), "{error}");
    }
    let answers = child("cores", &[("MYELON_PRODUCER_CORE", "the last")]);
    assert_eq!(answers["error"], "None");
    assert_eq!(answers["producer"], format!("{:?}", cores_of(0)));
}

#[test]
fn auto_consumers_sleep_for_the_delay_that_is_set() {
    const DELAY: u64 = 5_000_000;
    let answers = child(
        "handler",
        &[("MYELON_AUTO_WAIT_DELAY_NS", &DELAY.to_string())],
    );
    let number = |what: &str| answers[what].parse::<u64>().expect("a number");
    let (sleeps, took) = (number("sleeps"), number("took_ns"));
    assert!(sleeps >= SLEEPS, "{answers:?}");
    // no sleep ends early; the observation may cut two sleeps, and a few may have other reasons
    assert!(took / DELAY + 5 >= sleeps, "{answers:?}");

    let answers = child::<&str>("handler", &[]);
    let sleeps: u64 = answers["sleeps"].parse().expect("a number");
    assert!(
        sleeps < SLEEPS,
        "a thread that spins does not sleep: {answers:?}"
    );
}

#[test]
fn the_strategy_that_is_named_replaces_the_programs_own() {
    let named = [
        ("busy-spin", "BusySpin"),
        ("busy-spin-with-hint", "BusySpinWithSpinLoopHint"),
        ("spin-then-yield:100", "SpinThenYield { spins: 100 }"),
        ("sleep:50", "Sleep(50µs)"),
        (" block ", "Block"),
    ];
    for (name, strategy) in named {
        let answers = child("strategy", &[("MYELON_WAIT_STRATEGY", name)]);
        assert_eq!(answers["strategy"], strategy, "{name:?}");
        assert_eq!(answers["again"], strategy, "{name:?}");
        assert_eq!(answers["warnings"], "\"\"", "{name:?}");
    }
    let own = "SpinThenYield { spins: 7 }";
    let answers = child::<&str>("strategy", &[]);
    assert_eq!(answers["strategy"], own);
    assert_eq!(answers["warnings"], "\"\"");
    let bads = [
        b"".as_slice(),
        b"Block",
        b"block:1",
        b"spin-then-yield",
        b"spin-then-yield:-1",
        b"sleep:",
        b"sleep:1ms",
        b"sleep:99999999999999999999",
        b"block\xFF",
    ];
    for bad in bads.map(OsStr::from_bytes) {
        let answers = child("strategy", &[("MYELON_WAIT_STRATEGY", bad)]);
        assert_eq!(answers["strategy"], own, "{bad:?}");
        let reported = answers["warnings"].matches("MYELON_WAIT_STRATEGY");
        assert_eq!(reported.count(), 1, "{bad:?}: {}", answers["warnings"]);
    }
}

/// `docs/operations.md` has a row for each variable, and the sources read no other variable.
#[test]
fn every_variable_is_documented_with_its_default() {
    let page = include_str!("../../docs/operations.md");
    let sources = include_str!("../src/env.rs");
    let read: BTreeSet<&str> = sources
        .split('"')
        .filter(|text| text.starts_with("MYELON_"))
        .collect();
    assert_eq!(read, BTreeSet::from(VARIABLES));
    for variable in VARIABLES {
        let head = format!("| `{variable}` | ");
        let rows = page.lines().filter_map(|line| line.strip_prefix(&head));
        let [row] = rows.collect::<Vec<_>>()[..] else {
            panic!("{variable} has not one row");
        };
        let mut cells = row.split(" | ");
        let (unit, unset) = (cells.next().expect("a unit"), cells.next());
        let default = format!("{}{unit}", unset.expect("a default"));
        if let Some((_, expected, _)) = DURATIONS.iter().find(|(name, ..)| *name == variable) {
            assert_eq!(default.replace("1000ms", "1s"), *expected, "{variable}");
        }
    }
}
