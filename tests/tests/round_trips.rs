//! Round trips with the default wait in the places where programs run: on cores of their own, on one core,
//! moved from the one to the other while they run, in namespaces with other clocks, and in containers with quotas of
//! processor time.
//! Figures: `perf-bench wait --scenario affinity`.
//!
//! Each side is a process of its own, which runs this program again. The test compares the fastest of many
//! batches, because other programs use the machine, too. A pair that sleeps at each event is at least ten times
//! slower in every batch.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use disruptor_mp::{
    Deadline, RecvError, attach_shared_consumer, portable_shm_segment_name, publisher,
};
use myelon_tests::cgroup::{Cgroup, Setting};
use myelon_tests::{needs_root, skip};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

const CAPACITY: usize = 64;
/// Round trips that are timed together. They are few, so that both cores need to be available only for a short time.
const BATCH: u64 = 10;
/// The duration of one spell.
const SPELL: Duration = Duration::from_millis(20);
/// Two liveness intervals, after which a change of cores takes effect.
const ADAPTING: Duration = Duration::from_millis(200);
/// How long a test waits for a good spell on a machine that other programs use.
const PATIENCE: Duration = Duration::from_secs(20);
/// The environment variable with a side's ring to the other one, the ring back, and the side's part.
const RINGS: &str = "TEST_ROUND_TRIPS";

/// One side, in a process of its own. Without the environment variable it does nothing.
#[test]
fn side() {
    let Some(rings) = std::env::var_os(RINGS) else {
        return;
    };
    let rings = rings.into_string().expect("two names and a part");
    let names: Vec<_> = rings.split(' ').collect();
    println!("pid {}", std::process::id());
    let mut orders = std::io::stdin().lines();
    orders.next().expect("an order").expect("a line");
    let (tx, rx) = (names[0], names[1]);
    let mut tx = publisher::<u64>(tx, CAPACITY).expect("a producer");
    let mut rx = attach_shared_consumer::<u64>(rx, CAPACITY)
        .wait_for_ring(PATIENCE)
        .build_consumer()
        .expect("a consumer");
    if names[2] == "echo" {
        loop {
            let event = match rx.recv(Deadline::NEVER) {
                Ok(event) => *event,
                Err(RecvError::Closed) => break,
                Err(error) => panic!("{error}"),
            };
            tx.send(Deadline::NEVER, |slot| *slot = event)
                .expect("sent");
        }
        tx.close().expect("closed");
        return;
    }
    // each order is for one spell, and its answer is the time of a round trip; the last order ends the side
    for order in orders {
        if order.expect("a line") == "end" {
            break;
        }
        let start = Instant::now();
        let (mut trips, mut best) = (0, u128::MAX);
        while start.elapsed() < SPELL {
            let start = Instant::now();
            for _ in 0..BATCH {
                tx.send(Deadline::NEVER, |slot| *slot = trips)
                    .expect("sent");
                assert_eq!(*rx.recv(Deadline::NEVER).expect("an echo"), trips);
                trips += 1;
            }
            best = best.min(start.elapsed().as_nanos() / u128::from(BATCH));
        }
        println!("took {best}");
    }
    tx.close().expect("closed");
}

/// The driver's handle of a side.
struct Side {
    process: Child,
    pid: i32,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Side {
    fn start(rings: &str, wrapper: &[&str]) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut command = match wrapper {
            [] => Command::new(&program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(&program);
                command
            }
        };
        let mut process = command
            .args(["--exact", "side", "--nocapture"])
            .env(RINGS, rings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a side");
        let orders = process.stdin.take().expect("its input");
        let answers = BufReader::new(process.stdout.take().expect("its output")).lines();
        let mut side = Self {
            process,
            pid: 0,
            orders,
            answers,
        };
        side.pid = side.word("pid ").parse().expect("a pid");
        side
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").expect("it listens");
    }

    /// The text after `key` in the next line that contains it. The test runner prints other lines as well.
    fn word(&mut self, key: &str) -> String {
        let lines = self.answers.by_ref().map(|line| line.expect("a line"));
        let found = lines
            .into_iter()
            .find_map(|line| line.split_once(key).map(|(_, word)| word.to_owned()));
        found.expect("an answer")
    }

    fn move_to(&self, cores: &[usize]) {
        let mut set = CpuSet::new();
        for core in cores {
            set.set(*core).expect("a core");
        }
        // the thread that runs the test, and every thread that it starts
        for task in std::fs::read_dir(format!("/proc/{}/task", self.pid)).expect("its threads") {
            let thread = task.expect("a thread").file_name();
            let thread = thread
                .to_str()
                .and_then(|id| id.parse().ok())
                .expect("an id");
            sched_setaffinity(Pid::from_raw(thread), &set).expect("moved");
        }
    }
}

/// Two sides that exchange events.
struct Pair {
    sides: [Side; 2],
}

impl Pair {
    /// Starts each side on its cores, if any are given, and by its wrapper.
    fn start(cores: Option<[&[usize]; 2]>, wrappers: [&[&str]; 2]) -> Self {
        let [there, back] = ["there", "back"].map(portable_shm_segment_name);
        let first = Side::start(&format!("{there} {back} send"), wrappers[0]);
        let second = Side::start(&format!("{back} {there} echo"), wrappers[1]);
        let mut pair = Self {
            sides: [first, second],
        };
        if let Some(cores) = cores {
            pair.move_to(cores);
        }
        pair.sides.iter_mut().for_each(|side| side.order("go"));
        pair.adapt();
        pair
    }

    fn move_to(&self, cores: [&[usize]; 2]) {
        for (side, cores) in self.sides.iter().zip(cores) {
            side.move_to(cores);
        }
    }

    fn adapt(&mut self) {
        let end = Instant::now() + ADAPTING;
        while Instant::now() < end {
            self.spell();
        }
    }

    /// The present time of a round trip in ns: that of the fastest batch of a spell.
    fn spell(&mut self) -> u64 {
        let side = &mut self.sides[0];
        side.order("on");
        side.word("took ").parse().expect("a number")
    }

    /// The fastest of ten spells.
    fn figure(&mut self) -> u64 {
        (0..10).map(|_| self.spell()).min().unwrap_or(u64::MAX)
    }

    /// Asserts that a round trip takes at most `limit` ns, in one of many spells.
    #[track_caller]
    fn assert_at_most(&mut self, what: &str, limit: u64) {
        let end = Instant::now() + PATIENCE;
        let mut best = u64::MAX;
        while best > limit {
            assert!(
                Instant::now() < end,
                "{what}: {best} ns, of {limit} at the most"
            );
            best = best.min(self.spell());
        }
    }

    fn end(mut self) {
        self.sides[0].order("end");
        for side in &mut self.sides {
            assert!(side.process.wait().expect("it ends").success());
        }
    }
}

/// Two cores that this test may use, or `None` if there is only one.
fn two_cores() -> Option<[usize; 2]> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).expect("affinity");
    let mut cores = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false));
    Some([cores.next()?, cores.next()?])
}

/// The times of a round trip, in ns.
struct Figures {
    not_pinned: u64,
    on_one_core: u64,
}

impl Figures {
    fn measure(core: usize) -> Self {
        let mut free = Pair::start(None, [&[], &[]]);
        let not_pinned = free.figure();
        free.end();
        let mut crowded = Pair::start(Some([&[core], &[core]]), [&[], &[]]);
        let on_one_core = crowded.figure();
        crowded.end();
        Self {
            not_pinned,
            on_one_core,
        }
    }

    /// The limit on two cores: five times the time of a pair that is not pinned, because other programs use the
    /// machine; but less than a pair that sleeps at each event can reach.
    fn apart(&self) -> u64 {
        (self.not_pinned * 5).min(self.on_one_core / 2)
    }

    fn together(&self) -> u64 {
        self.on_one_core * 5
    }
}

#[test]
fn a_pinned_pair_is_as_fast_as_one_that_is_not_and_follows_its_cores() {
    let test = "a_pinned_pair_is_as_fast_as_one_that_is_not_and_follows_its_cores";
    let Some(cores) = two_cores() else {
        return skip(test, "it needs two cores");
    };
    let [first, second] = [&cores[..1], &cores[1..]];
    let figures = Figures::measure(cores[0]);
    let mut pair = Pair::start(Some([first, second]), [&[], &[]]);
    pair.assert_at_most("pinned to a core each", figures.apart());
    pair.move_to([first, first]);
    pair.adapt();
    pair.assert_at_most("moved to one core", figures.together());
    pair.move_to([first, second]);
    pair.adapt();
    pair.assert_at_most("a core each again", figures.apart());
    pair.move_to([second, first]);
    pair.adapt();
    pair.assert_at_most("the other way round", figures.apart());
    pair.end();
}

/// A clock that is an hour ahead or behind must not change what the library learns about the time of a wake-up.
#[test]
fn clocks_of_other_time_namespaces_make_no_difference() {
    let test = "clocks_of_other_time_namespaces_make_no_difference";
    let ahead = [
        "unshare",
        "--time",
        "--monotonic",
        "3600",
        "--fork",
        "--kill-child",
    ];
    let status = Command::new("unshare")
        .args(&ahead[1..])
        .arg("true")
        .status();
    let can = status.is_ok_and(|status| status.success());
    let Some(cores) = two_cores().filter(|_| can) else {
        return skip(test, "it needs a time namespace and two cores");
    };
    let figures = Figures::measure(cores[0]);
    let [first, second] = [&cores[..1], &cores[1..]];
    // one side sees the other's clock ahead, and the other sees it behind
    let mut other = Pair::start(None, [&[], &ahead]);
    // on one core both sleep, and measure how long a wake-up takes
    other.move_to([first, first]);
    other.adapt();
    other.move_to([first, second]);
    other.adapt();
    other.assert_at_most("in another time namespace", figures.apart());
    other.end();
}

/// A group whose quota keeps one core busy; `None` where no such group can be made.
fn one_cpu() -> Option<Cgroup> {
    Cgroup::new(Setting {
        controller: "cpu",
        v1: ("cpu.cfs_quota_us", "100000"),
        v2: ("cpu.max", "100000 100000"),
    })
}

/// Two containers with one CPU each have two together: both sides may spin.
#[test]
fn two_containers_with_a_quota_of_one_cpu_each_are_as_fast_as_others() {
    let test = "two_containers_with_a_quota_of_one_cpu_each_are_as_fast_as_others";
    if !needs_root(test) {
        return;
    }
    let (Some(cores), Some(first), Some(second)) = (two_cores(), one_cpu(), one_cpu()) else {
        return skip(test, "it needs two cores and a cgroup of its own");
    };
    let figures = Figures::measure(cores[0]);
    let container =
        "echo $$ >$0/cgroup.procs && exec unshare --pid --fork --kill-child --mount-proc \"$@\"";
    let [first_dir, second_dir] =
        [&first, &second].map(|group| group.dir().to_str().expect("text"));
    let wrap = |dir| ["sh", "-c", container, dir];
    let mut pair = Pair::start(None, [&wrap(first_dir), &wrap(second_dir)]);
    pair.assert_at_most("in two containers", figures.apart());
    pair.end();
}
