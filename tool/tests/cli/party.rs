//! A process that produces or consumes: this test program, started again for the test [`party`], which obeys one line
//! of input at a time and answers each with one line.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use disruptor_mp::{
    Deadline, DiscoveryMode, Event, MmapConsumer, MmapProducer, MmapTransportLayout,
};
use myelon::transport::FixedFrame;
use myelon::{MappedFile, RunnerMyelonTransportConfig};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What the rings of these tests carry.
#[derive(Clone, Copy, Default, Event)]
#[repr(C)]
pub(crate) struct Tick {
    pub(crate) price: i64,
    pub(crate) quantity: u32,
    pub(crate) venue: [u8; 4],
}

/// A session of two workers, whose rings are in a test's directory.
pub(crate) fn session(label: &str) -> RunnerMyelonTransportConfig {
    RunnerMyelonTransportConfig::new(label, 2)
}

pub(crate) type Worker = myelon::Worker<FixedFrame<64>, FixedFrame<64>, MappedFile>;

/// A directory for one test's rings, which are mapped files: nothing is left in shared memory.
pub(crate) struct Rings {
    files: tempfile::TempDir,
}

impl Rings {
    pub(crate) fn new() -> Self {
        Self {
            files: tempfile::tempdir().expect("a directory"),
        }
    }

    /// The same in the memory that containers share.
    pub(crate) fn in_shared_memory() -> Self {
        Self {
            files: tempfile::tempdir_in("/dev/shm").expect("a directory"),
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.files.path()
    }

    pub(crate) fn path(&self, ring: &str) -> PathBuf {
        self.directory().join(ring)
    }

    /// The path as an argument.
    pub(crate) fn named(&self, ring: &str) -> String {
        self.path(ring).to_str().expect("UTF-8").to_owned()
    }

    /// A process for this ring.
    pub(crate) fn party(&self, ring: &str) -> Party {
        Party::start(&[], &self.path(ring))
    }

    /// A process for this ring, started by these words.
    pub(crate) fn party_by(&self, words: &[&str], ring: &str) -> Party {
        Party::start(words, &self.path(ring))
    }

    /// A process that has done these things.
    pub(crate) fn party_that(&self, ring: &str, lines: &[&str]) -> Party {
        let mut party = self.party(ring);
        for line in lines {
            party.ok(line);
        }
        party
    }
}

/// Another process.
pub(crate) struct Party {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// What an answer begins with: the test harness prints lines of its own.
const ANSWER: &str = "answer:";

impl Party {
    fn start(by: &[&str], path: &Path) -> Self {
        let program = std::env::current_exe().expect("this program");
        let words = by.iter().map(OsStr::new).chain([program.as_os_str()]);
        let words: Vec<_> = words.collect();
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .args(["--exact", "party::party", "--nocapture", "--test-threads=1"])
            .env("PARTY_OF", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Self {
            child,
            input,
            output,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.input.as_mut().expect("its input"), "{line}").expect("it reads");
    }

    #[track_caller]
    pub(crate) fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            let count = self.output.read_line(&mut line).expect("its answer");
            assert!(count > 0, "the process died");
            if let Some((_, answer)) = line.split_once(ANSWER) {
                return answer.trim().to_owned();
            }
        }
    }

    #[track_caller]
    pub(crate) fn ok(&mut self, line: &str) -> String {
        self.tell(line);
        let answer = self.answer();
        assert!(answer.starts_with("ok"), "{line}: {answer}");
        answer
    }

    /// Sends SIGKILL and reaps the process, so that its locks are free afterwards.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).expect("signal");
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        self.input = None;
        // a stopped process would not see the end of its input
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The process that a [`Party`] is.
#[test]
fn party() {
    let Some(path) = std::env::var_os("PARTY_OF").map(PathBuf::from) else {
        return;
    };
    // no test that was killed leaves one behind
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).expect("prctl");
    let directory = path.parent().expect("a directory");
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a name");
    let mut state = State {
        layout: MmapTransportLayout::new(directory, name),
        tx: None,
        rx: None,
        worker: None,
    };
    for line in stdin().lines().map_while(Result::ok) {
        let answer = match state.obey(&line) {
            Ok(text) => format!("ok {text}"),
            Err(error) => format!("err {error}"),
        };
        let mut out = stdout().lock();
        let _ = writeln!(out, "{ANSWER} {answer}");
        let _ = out.flush();
    }
}

struct State {
    layout: MmapTransportLayout,
    tx: Option<MmapProducer<Tick>>,
    rx: Option<MmapConsumer<Tick>>,
    worker: Option<Worker>,
}

impl State {
    fn obey(&mut self, line: &str) -> Result<String, Box<dyn std::error::Error>> {
        let words: Vec<_> = line.split_whitespace().collect();
        let number = |index: usize| words[index].parse::<usize>().expect("a number");
        match words[0] {
            // produce CAPACITY [observers] [mode=644] [expect=ID]
            "produce" => {
                let mut builder = MmapProducer::<Tick>::builder(&self.layout, number(1));
                for option in &words[2..] {
                    builder = match option.split_once('=') {
                        None => builder.with_observers(),
                        Some(("mode", mode)) => builder.with_mode(u32::from_str_radix(mode, 8)?),
                        Some((_, id)) => {
                            builder.with_discovery(DiscoveryMode::Ids(vec![id.into()]))
                        }
                    };
                }
                self.tx = Some(builder.build_producer(Tick::default)?);
            }
            "publish" => {
                let tx = self.tx.as_mut().expect("a producer");
                for _ in 0..number(1) {
                    let price = tx.last_published_sequence() + 1;
                    let tick = Tick {
                        price,
                        quantity: 7,
                        venue: *b"XAU\0",
                    };
                    tx.send_value(tick, Deadline::NEVER)?;
                }
            }
            "fill" => {
                let tx = self.tx.as_mut().expect("a producer");
                while tx.try_publish(|tick| tick.price += 1).is_ok() {}
                return Ok(tx.last_published_sequence().to_string());
            }
            "close" => drop(self.tx.take().expect("a producer").close()?),
            "keep" => self.tx.take().expect("a producer").close_and_keep()?,
            // consume CAPACITY ID
            "consume" => {
                let builder = MmapConsumer::<Tick>::builder(&self.layout, number(1))
                    .with_consumer_id(words[2]);
                self.rx = Some(builder.build_consumer()?);
            }
            "recv" => {
                let rx = self.rx.as_mut().expect("a consumer");
                for _ in 0..number(1) {
                    rx.recv(Deadline::NEVER)?.commit();
                }
            }
            // read N: the sequence and the price of each event
            "read" => {
                let rx = self.rx.as_mut().expect("a consumer");
                let mut events = Vec::new();
                for _ in 0..number(1) {
                    let (sequence, tick) = rx.recv_owned(Deadline::NEVER)?;
                    events.push(format!("{sequence}:{}", tick.price));
                }
                return Ok(events.join(" "));
            }
            "detach" => self.rx.take().expect("a consumer").detach()?,
            "leave" => self.rx.take().expect("a consumer").leave()?,
            // work RANK: is this worker of the session with this name
            "work" => {
                let config = session(self.layout.segment_name());
                let worker = Worker::start_in_files(&config, number(1), self.layout.root_dir())?;
                self.worker = Some(worker);
            }
            // request [done]: receives a request, and completes it or returns it
            "request" => {
                let worker = self.worker.as_mut().expect("a worker");
                let request = worker.recv(Deadline::NEVER)?;
                if words.get(1) == Some(&"done") {
                    request.done();
                }
            }
            // half-make FILE: begins a ring under a temporary name, as a creator does where files must have names
            "half-make" => {
                let path = self
                    .layout
                    .path()
                    .parent()
                    .expect("a directory")
                    .join(words[1]);
                let file = std::fs::File::create_new(path)?;
                (&file).write_all(b"DISRPTMP")?;
                lock_first_byte(&file)?;
                std::mem::forget(file);
            }
            // lock: what a process does that takes the ring over or removes its name
            "lock" => {
                let mut options = std::fs::OpenOptions::new();
                let file = options.read(true).write(true).open(self.layout.path())?;
                lock_first_byte(&file)?;
                std::mem::forget(file);
            }
            other => panic!("no such verb: {other}"),
        }
        Ok(String::new())
    }
}

/// Takes the lock that a ring's creator holds.
fn lock_first_byte(file: &std::fs::File) -> nix::Result<()> {
    let lock = libc::flock {
        l_type: libc::F_WRLCK as _,
        l_whence: libc::SEEK_SET as _,
        l_start: 0,
        l_len: 1,
        l_pid: 0,
    };
    nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_OFD_SETLK(&lock)).map(drop)
}
