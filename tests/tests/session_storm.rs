//! A storm over sessions: the scheduler and its workers, some of them members for tasks, are killed, stopped and
//! started again at random moments, also one while another is stopped. Each request that was sent is answered by each
//! worker that it was sent to, no scheduler receives a piece twice, each delivery has its number, and at the end all
//! members go and nothing is left.
//!
//! `MYELON_STORM=2000` sets the number of kills and stops, as for `storm`: a tenth of it is played here. A round that
//! fails names its seed: `MYELON_STORM_SEED=17` plays that round again.

use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use myelon::{MyelonTransportLayout, portable_shm_segment_name};
use myelon_tests::caught;
use myelon_tests::sessions::PIECES;
use myelon_tests::sessions::judge::{Entry, Members, judge};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const MEMBER: &str = env!("CARGO_BIN_EXE_session_member");
const WORKERS: usize = 3;
const DEEDS: u64 = 20;
/// The longest time from one deed to the next.
const PAUSE_MAX_US: u64 = 20_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// The planted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// Workers release a request before they answer it.
    Early,
    /// A scheduler does not receive the answers to its predecessor's requests.
    Forgets,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    kills: u64,
    /// Kills of the scheduler.
    schedulers: u64,
    stops: u64,
    /// Kills of one member while another one is stopped.
    both: u64,
    /// Kills of members for tasks.
    tasks: u64,
    again: usize,
    redelivered: usize,
    unaccounted: usize,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.kills += other.kills;
        self.schedulers += other.schedulers;
        self.stops += other.stops;
        self.both += other.both;
        self.tasks += other.tasks;
        self.again += other.again;
        self.redelivered += other.redelivered;
        self.unaccounted += other.unaccounted;
    }
}

/// The members of a session; the scheduler is the last one.
struct Session {
    label: String,
    ledger: std::path::PathBuf,
    wrong: Wrong,
    /// The members that are for tasks.
    for_tasks: [bool; WORKERS + 1],
    members: Vec<Child>,
}

impl Session {
    fn start(directory: &Path, wrong: Wrong, random: &mut fastrand::Rng) -> io::Result<Self> {
        let mut session = Self {
            label: portable_shm_segment_name("test").to_string(),
            ledger: directory.join("ledger"),
            wrong,
            // the members of a control are not
            for_tasks: [(); WORKERS + 1].map(|()| random.bool() && wrong == Wrong::Nothing),
            members: Vec::new(),
        };
        // the members start in any order; their places in the list are their roles
        let first = random.bool().then(|| session.spawn(WORKERS)).transpose()?;
        for rank in 0..WORKERS {
            let member = session.spawn(rank)?;
            session.members.push(member);
        }
        let scheduler = match first {
            Some(scheduler) => scheduler,
            None => session.spawn(WORKERS)?,
        };
        session.members.push(scheduler);
        Ok(session)
    }

    fn spawn(&self, member: usize) -> io::Result<Child> {
        let role = match member {
            WORKERS => String::from("scheduler"),
            rank => rank.to_string(),
        };
        let role = match self.for_tasks[member] {
            true => format!("task-{role}"),
            false => role,
        };
        let wrong = match (self.wrong, member) {
            (Wrong::Early, 0..WORKERS) => "early",
            (Wrong::Forgets, WORKERS) => "forgets",
            _ => "",
        };
        Command::new(MEMBER)
            .args([&self.label, &WORKERS.to_string()])
            .arg(&self.ledger)
            .args([&role, wrong])
            .stdin(Stdio::piped())
            .spawn()
    }

    fn kill(&mut self, member: usize) -> io::Result<()> {
        self.members[member].kill()?;
        self.members[member].wait()?;
        Ok(())
    }

    fn signal(&self, member: usize, signal: Signal) {
        let pid = Pid::from_raw(self.members[member].id() as i32);
        kill(pid, signal).expect("it is our child");
    }

    /// Ends the session in order, and waits until all members have gone.
    fn end(&mut self) -> Result<(), String> {
        drop(self.members[WORKERS].stdin.take());
        let end = Instant::now() + PATIENCE;
        for (member, child) in self.members.iter_mut().enumerate() {
            loop {
                match child.try_wait().expect("it is our child") {
                    Some(status) if status.success() => break,
                    Some(status) => return Err(format!("member {member} ended: {status}")),
                    None if Instant::now() > end => return Err(format!("member {member} hangs")),
                    None => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        }
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.kill();
            let _ = member.wait();
        }
        // of a round that failed
        if let Ok(layout) = MyelonTransportLayout::for_session(&self.label) {
            let own = |rank| {
                [
                    layout.response_ring_name(rank),
                    layout.request_ring_name(rank),
                ]
            };
            for name in (0..WORKERS).flat_map(own).chain([layout.rpc_ring_name()]) {
                let _ = std::fs::remove_file(Path::new("/dev/shm").join(name));
            }
        }
    }
}

fn play(seed: u64, wrong: Wrong) -> Result<Count, String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let directory = tempfile::tempdir().expect("a directory");
    let mut session = Session::start(directory.path(), wrong, &mut random).expect("it starts");
    let mut count = Count::default();
    for _ in 0..DEEDS {
        std::thread::sleep(Duration::from_micros(random.u64(..PAUSE_MAX_US)));
        let member = random.usize(..=WORKERS);
        let failed = session.members[member].try_wait().expect("it is our child");
        if let Some(status) = failed {
            return Err(format!("member {member} ended by itself: {status}"));
        }
        let other = (member + 1 + random.usize(..WORKERS)) % (WORKERS + 1);
        let (is_stopped, killed) = match random.u8(..8) {
            0 => (true, vec![]),
            // the other one dies and comes back while this one is stopped
            1 | 2 => (true, vec![other]),
            3 => (false, vec![member, other]),
            _ => (false, vec![member]),
        };
        if is_stopped {
            session.signal(member, Signal::SIGSTOP);
            count.stops += 1;
            count.both += killed.len() as u64;
        }
        for member in &killed {
            session.kill(*member).expect("it is our child");
            count.kills += 1;
            count.schedulers += u64::from(*member == WORKERS);
            count.tasks += u64::from(session.for_tasks[*member]);
        }
        for member in killed {
            session.members[member] = session.spawn(member).expect("it starts");
        }
        if is_stopped {
            std::thread::sleep(Duration::from_micros(random.u64(..PAUSE_MAX_US)));
            session.signal(member, Signal::SIGCONT);
        }
    }
    session.end()?;
    let layout = MyelonTransportLayout::for_session(&session.label).expect("names");
    let rings = [layout.rpc_ring_name()]
        .into_iter()
        .chain((0..WORKERS).flat_map(|rank| {
            [
                layout.response_ring_name(rank),
                layout.request_ring_name(rank),
            ]
        }));
    for ring in rings {
        if Path::new("/dev/shm").join(&ring).exists() {
            return Err(format!("ring {ring} is left behind"));
        }
    }
    let ledger = std::fs::read(&session.ledger).map_err(|error| error.to_string())?;
    let members = Members {
        pieces: &[PIECES; WORKERS],
        deaths: None,
    };
    let judged = judge(members, &Entry::all(&ledger))?;
    if judged.sent == 0 {
        return Err(String::from("nothing was sent"));
    }
    count.again = judged.again;
    count.redelivered = judged.redelivered;
    count.unaccounted = judged.unaccounted;
    if judged.unaccounted > 0 && !session.for_tasks[WORKERS] {
        return Err(format!("{} answers are missing", judged.unaccounted));
    }
    Ok(count)
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text}: want a number")),
    )
}

fn round(seed: u64, wrong: Wrong) -> Result<Count, String> {
    caught(|| play(seed, wrong)).map_err(|fault| format!("MYELON_STORM_SEED={seed}: {fault}"))
}

#[test]
fn storm_over_sessions_loses_no_request() {
    if let Some(seed) = number("MYELON_STORM_SEED") {
        let count = round(seed, Wrong::Nothing).unwrap_or_else(|fault| panic!("{fault}"));
        println!("round {seed}: {count:?}");
        return;
    }
    let wanted = (number("MYELON_STORM").unwrap_or(200) / 10).max(60);
    let base = fastrand::u64(..u64::MAX / 2);
    println!("storm over sessions: seeds from {base} on");
    let (mut total, mut rounds) = (Count::default(), 0);
    while total.kills + total.stops < wanted {
        let count = round(base + rounds, Wrong::Nothing).unwrap_or_else(|fault| panic!("{fault}"));
        total += count;
        rounds += 1;
    }
    println!("storm over sessions: {rounds} rounds, {total:?}");
    println!("cases {}", total.kills + total.stops);
    let Count {
        schedulers,
        stops,
        both,
        tasks,
        redelivered,
        ..
    } = total;
    assert!(schedulers > 0 && stops > 0 && both > 0 && tasks > 0 && redelivered > 0);
}

/// Plays rounds with a planted fault until it is detected.
fn assert_found(what: &str, word: &str, wrong: Wrong) {
    let fault = (0..20).find_map(|seed| round(seed, wrong).err());
    let fault = fault.unwrap_or_else(|| panic!("{what}: twenty rounds, and nobody noticed"));
    assert!(fault.contains(word), "{fault}");
    println!("control {what}: {fault}");
}

#[test]
fn control_a_request_that_is_released_before_it_is_answered_is_found() {
    assert_found("released too early", "missing", Wrong::Early);
}

#[test]
fn control_a_scheduler_that_forgets_its_predecessors_requests_is_found() {
    assert_found("forgets", "missing", Wrong::Forgets);
}
