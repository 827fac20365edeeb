//! One case: it runs a process with one fault injected, checks how the process ended, and checks the state that
//! a clean process finds afterwards.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::books::session;
use super::table::{Act, Scenario};

/// How long a process may take. Its calls wait for at most 5 s; the rest allows for a machine that pauses.
const PATIENCE: Duration = Duration::from_secs(20);
/// Texts that the C library and the standard library print when they end a process because they cannot start or
/// join a thread or close a directory. Such a process counts as killed.
const RUNTIME: [&str; 5] = [
    "std/src/sys/pal/unix/stack_overflow.rs",
    "std/src/sys/thread/unix.rs",
    "rseq registration failed",
    "The futex facility returned an unexpected error code",
    "unexpected error during closedir",
];
/// How long a control may take. It is shorter, because some controls hang on purpose.
const PATIENCE_OF_CONTROLS: Duration = Duration::from_secs(2);

/// One injected fault.
#[derive(Clone, Debug)]
pub struct Case {
    /// The scenario that is running.
    pub scenario: &'static Scenario,
    /// The backing: `shm` or `mmap`.
    pub backing: &'static str,
    /// The name of the system call.
    pub call: String,
    /// The occurrence of that call, counted from 1.
    pub nth: usize,
    /// The fault that is injected at the call.
    pub act: Act,
    /// A call that fails in every run of this scenario, as an strace injection.
    pub base: Option<String>,
    /// A mistake that is planted in the scenario, for controls.
    pub flaw: Option<&'static str>,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = self.scenario.verb;
        write!(
            f,
            "{verb}/{}/{}/{}/{}",
            self.backing, self.call, self.nth, self.act
        )
    }
}

/// How a case that passed was played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Played {
    /// The call was reached, and every check passed afterwards.
    Met,
    /// The process made fewer calls this time, so the call was not reached.
    NotMet,
}

impl Case {
    /// Plays the case. `program` is `env!("CARGO_BIN_EXE_faults")`.
    ///
    /// # Errors
    ///
    /// A description of the fault.
    pub fn play(&self, program: &str) -> Result<Played, String> {
        let stage = Stage::new(program, self.backing);
        stage.set(self.scenario)?;
        let mut injections: Vec<String> = self.base.iter().cloned().collect();
        injections.push(format!(
            "{}:{}:when={}",
            self.call,
            self.act.injection(),
            self.nth
        ));
        let mut calls = self.call.clone();
        if self.base.is_some() {
            calls += ",openat";
        }
        let (ended, log) = stage.trace(self.scenario.verb, self.flaw, &calls, &injections)?;
        ended.judge(self.act, &log)?;
        if self.scenario.verb == "temporary" && self.act == Act::Kill {
            // a temporary name that was never linked is removed by the next creator that needs a temporary name itself
            let base: Vec<String> = self.base.iter().cloned().collect();
            let _ = stage.trace(self.scenario.verb, None, "openat", &base)?;
        }
        stage.come_after(self.scenario)?;
        Ok(match log.lines().any(|line| self.is_met_in(line)) {
            true => Played::Met,
            false => Played::NotMet,
        })
    }

    /// Lines are `PID call(…) = … (INJECTED)`, `PID <... call resumed>…` and `PID --- SIGUSR1 … ---`.
    fn is_met_in(&self, line: &str) -> bool {
        let is_of_call = line.contains(&format!(" {}(", self.call))
            || line.contains(&format!(" {} resumed", self.call));
        let is_signal = matches!(self.act, Act::Kill | Act::Interrupt);
        line.contains(self.act.mark()) && (is_signal || is_of_call)
    }
}

/// The system calls of a scenario, with the number of each in the thread that makes the most, and the call that
/// fails in every run.
///
/// # Errors
///
/// If the scenario does not end well without a fault.
pub fn sites(
    program: &str,
    scenario: &'static Scenario,
    backing: &'static str,
) -> Result<(BTreeMap<String, usize>, Option<String>), String> {
    let record = |injections: &[String]| {
        let stage = Stage::new(program, backing);
        stage.set(scenario)?;
        let (ended, log) = stage.trace(scenario.verb, None, "all", injections)?;
        if !ended.status.success() {
            return Err(format!("undisturbed, it ended with {}", ended.words()));
        }
        stage.come_after(scenario)?;
        Ok(log)
    };
    let mut base = None;
    let mut log = record(&[])?;
    if scenario.verb == "temporary" {
        let nth = log
            .lines()
            .filter(|line| line.contains(" openat("))
            .position(|line| line.contains("O_TMPFILE"))
            .ok_or("no nameless file was made")?;
        base = Some(format!("openat:error=EOPNOTSUPP:when={}", nth + 1));
        log = record(base.as_slice())?;
    }
    let mut counts = BTreeMap::<(&str, &str), usize>::new();
    for line in log.lines() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let Some((call, _)) = rest.trim_start().split_once('(') else {
            continue;
        };
        if call.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            *counts.entry((thread, call)).or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((_, call), count) in counts {
        let most = most.entry(call.to_owned()).or_default();
        *most = count.max(*most);
    }
    if base.is_some() {
        // strace takes only one injection expression for a call
        most.remove("openat");
    }
    Ok((most, base))
}

/// The files, names and program with which a case is played.
struct Stage<'a> {
    program: &'a str,
    backing: &'static str,
    directory: PathBuf,
    name: String,
    files: tempfile::TempDir,
}

/// How a process ended.
struct Ended {
    status: ExitStatus,
    said: String,
    has_hung: bool,
}

impl Ended {
    fn words(&self) -> String {
        format!("{}, having said: {}", self.status, self.said.trim())
    }

    fn judge(&self, act: Act, log: &str) -> Result<(), String> {
        // a lost wake-up of one of this process's own locks: their waiters sleep without a time-out, and no
        // real kernel loses such a wake-up.
        let is_lost =
            |line: &str| line.contains("FUTEX_WAKE_PRIVATE") && line.contains("(INJECTED)");
        let is_runtime = RUNTIME.iter().any(|words| self.said.contains(words));
        match (self.status.signal(), self.status.code()) {
            _ if self.has_hung && log.lines().any(is_lost) => Ok(()),
            _ if self.has_hung => Err(format!("it hung: {}", self.said.trim())),
            (Some(libc::SIGKILL), _) if act == Act::Kill => Ok(()),
            (Some(libc::SIGABRT), _) | (_, Some(101)) if is_runtime => Ok(()),
            (_, Some(0 | 1)) if !self.said.contains("WRONG") => Ok(()),
            _ => Err(format!("it ended with {}", self.words())),
        }
    }
}

impl<'a> Stage<'a> {
    fn new(program: &'a str, backing: &'static str) -> Self {
        let files = tempfile::tempdir().expect("a temporary directory");
        let directory = match backing {
            "shm" => PathBuf::from("/dev/shm"),
            _ => {
                let directory = files.path().join("rings");
                fs::create_dir(&directory).expect("a directory for the rings");
                directory
            }
        };
        Self {
            program,
            backing,
            directory,
            name: disruptor_mp::portable_shm_segment_name("fault"),
            files,
        }
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(self.program);
        command
            .arg(self.backing)
            .arg(&self.directory)
            .arg(&self.name)
            .arg(self.files.path().join("books"))
            .arg(verb)
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    /// Makes the state that the scenario starts from.
    fn set(&self, scenario: &Scenario) -> Result<(), String> {
        if let Some(verb) = scenario.prepare {
            let ended = end_of(self.command(verb).spawn().expect("it starts"), PATIENCE);
            if ended.status.signal() != Some(libc::SIGKILL) {
                return Err(format!("{verb} ended with {}", ended.words()));
            }
        }
        Ok(())
    }

    /// Plays the scenario under strace. Returns how it ended and the log of strace.
    fn trace(
        &self,
        verb: &str,
        flaw: Option<&str>,
        calls: &str,
        injections: &[String],
    ) -> Result<(Ended, String), String> {
        let mut child = self
            .command(verb)
            .args(flaw)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the scenario starts");
        let mut ready = BufReader::new(child.stdout.take().expect("piped"));
        ready.read_line(&mut String::new()).expect("ready");
        let log = self.files.path().join("log");
        let mut strace = Command::new("strace");
        strace
            .args(["-f", "-e", &format!("trace={calls}"), "-o"])
            .arg(&log)
            .args(["-p", &child.id().to_string()]);
        for injection in injections {
            strace.args(["-e", &format!("inject={injection}")]);
        }
        let mut strace = strace
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace starts");
        let mut attached = BufReader::new(strace.stderr.take().expect("piped"));
        let mut said = String::new();
        attached
            .read_line(&mut said)
            .expect("strace says something");
        if !said.contains("attached") {
            let _ = child.kill();
            let _ = child.wait();
            attached.read_to_string(&mut said).expect("what it says");
            let _ = strace.wait();
            return Err(format!("strace does not attach: {said}"));
        }
        // the process may be killed before it reads
        let _ = child.stdin.take().expect("piped").write_all(b"\n");
        let patience = match flaw {
            Some(_) => PATIENCE_OF_CONTROLS,
            None => PATIENCE,
        };
        let ended = end_of(child, patience);
        strace.wait().expect("strace ends with its process");
        let log = fs::read_to_string(log).expect("what strace wrote");
        Ok((ended, log))
    }

    /// Runs the clean process and checks that no files are left.
    fn come_after(&self, scenario: &Scenario) -> Result<(), String> {
        let command = self.command(scenario.after).spawn();
        let ended = end_of(command.expect("it starts"), PATIENCE);
        if !ended.status.success() || ended.has_hung {
            return Err(format!("the clean process: {}", ended.words()));
        }
        if scenario.verb == "counters" {
            // a file of counters stays until it is removed explicitly
            let _ = fs::remove_file(self.counters());
        }
        let left = self.leftovers();
        match left.is_empty() {
            true => Ok(()),
            false => Err(format!("left behind: {left:?}")),
        }
    }

    fn counters(&self) -> PathBuf {
        self.directory.join(format!("{}-counters", self.name))
    }

    /// Every file that carries one of the scenario's names, or a temporary form of it.
    fn leftovers(&self) -> Vec<PathBuf> {
        let layout = session(&self.name).layout().expect("names of rings");
        let names = [
            self.name.clone(),
            format!("{}-counters", self.name),
            layout.rpc_ring_name(),
            layout.response_ring_name(0),
        ];
        let is_ours = |found: &str| {
            names.iter().any(|name| {
                found == name
                    || found
                        .strip_prefix('.')
                        .is_some_and(|rest| rest.starts_with(&format!("{name}.")))
            })
        };
        let entries = fs::read_dir(&self.directory).expect("the directory");
        entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|found| is_ours(found))
            .map(|found| self.directory.join(found))
            .collect()
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        for path in self.leftovers() {
            let _ = fs::remove_file(path);
        }
    }
}

/// Waits for the child's end, but no longer than `patience`: then it is killed.
fn end_of(mut child: Child, patience: Duration) -> Ended {
    let until = Instant::now() + patience;
    let mut has_hung = false;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if Instant::now() > until && !has_hung {
            has_hung = true;
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_micros(500));
    };
    let mut said = String::new();
    let _ = child
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut said);
    Ended {
        status,
        said,
        has_hung,
    }
}
