//! `top` as a user sees it: its output goes to an emulated terminal, and the screen is compared.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{FlowArg, SetArg, Termios, tcflow, tcgetattr, tcsetattr};
use nix::unistd::Pid;
use vt100::Parser;

use crate::party::{Party, Rings};
use crate::wait_until;

/// What stands on the screen before the program starts.
const PROMPT: &[u8] = b"$ myelon top\r\n";

/// The program in a terminal, which is its controlling one.
struct Terminal {
    emulator: Parser,
    /// All output of the program so far.
    output: Vec<u8>,
    settings: Termios,
    screen: File,
    side: File,
    child: Program,
}

/// The program. A test that fails leaves none behind.
struct Program(Child);

impl Program {
    /// How it ends.
    #[track_caller]
    fn end(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("it ends", || {
            status = self.0.try_wait().expect("wait");
            status.is_some()
        });
        status.expect("it ended")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Both ends of a terminal of this size; reading the first one does not wait. No process that a test starts meanwhile
/// inherits one of them, as that would keep it open.
fn terminal(size: [u16; 2]) -> (File, File) {
    let master =
        posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK);
    let master = master.expect("a terminal");
    grantpt(&master).expect("grantpt");
    unlockpt(&master).expect("unlockpt");
    let path = ptsname_r(&master).expect("its name");
    let mut options = File::options();
    options.read(true).write(true).custom_flags(libc::O_NOCTTY);
    let slave = options.open(path).expect("its other end");
    resize(&slave, size);
    (File::from(OwnedFd::from(master)), slave)
}

fn resize(slave: &File, [rows, columns]: [u16; 2]) {
    let words = ["rows", &rows.to_string(), "cols", &columns.to_string()];
    let side = slave.try_clone().expect("dup");
    let status = Command::new("stty").args(words).stdin(side).status();
    assert!(status.expect("stty").success());
}

impl Terminal {
    fn start(size: [u16; 2], arguments: &[&str]) -> Self {
        Self::of(size, "exec \"$0\" \"$@\"", arguments)
    }

    /// A terminal in which a shell runs this script, with the program and its arguments as parameters.
    fn of(size: [u16; 2], script: &str, arguments: &[&str]) -> Self {
        let (screen, slave) = terminal(size);
        let settings = tcgetattr(&slave).expect("its settings");
        let side = || Stdio::from(slave.try_clone().expect("dup"));
        let child = Command::new("setsid")
            // the tests may have been started by a program that ignores signals, such as nohup
            .args(["--ctty", "env", "--default-signal", "sh", "-c", script])
            .arg(env!("CARGO_BIN_EXE_myelon"))
            .args(arguments)
            .env("TERM", "xterm")
            .stdin(side())
            .stdout(side())
            .stderr(side())
            .spawn()
            .expect("it starts");
        let mut emulator = emulator(match size {
            // it was not told its size
            [0, 0] => [24, 80],
            size => size,
        });
        emulator.process(PROMPT);
        Self {
            emulator,
            output: Vec::new(),
            settings,
            screen,
            side: slave,
            child: Program(child),
        }
    }

    /// The rows of the screen now, without blanks at their ends.
    fn rows(&mut self) -> Vec<String> {
        let mut bytes = [0; 4096];
        // a terminal whose other side is closed is an error
        while let Ok(count @ 1..) = self.screen.read(&mut bytes) {
            self.emulator.process(&bytes[..count]);
            self.output.extend_from_slice(&bytes[..count]);
        }
        rows_of(&self.emulator)
    }

    /// Resizes the terminal, as a user does with the mouse: the kernel tells the program.
    fn resize(&mut self, [rows, columns]: [u16; 2]) {
        let [high, wide] = [rows, columns].map(not_zero);
        self.emulator.screen_mut().set_size(high, wide);
        resize(&self.side, [rows, columns]);
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.0.id() as i32)
    }

    #[track_caller]
    fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("signal");
    }

    #[track_caller]
    fn types(&mut self, keys: &[u8]) {
        self.screen.write_all(keys).expect("typed");
    }

    /// Waits until the screen shows a picture in which the first ring, in the second row, begins like this.
    #[track_caller]
    fn shows(&mut self, ring: &str) {
        wait_until("a picture is there", || self.rows()[1].starts_with(ring));
    }

    /// How many pictures were drawn so far.
    fn pictures(&mut self) -> usize {
        self.rows();
        let heads = self.output.windows(4).filter(|four| four == b"RING");
        heads.count()
    }

    /// Acts, and waits until another picture is drawn.
    #[track_caller]
    fn goes_on_after(&mut self, act: impl FnOnce(&mut Self)) {
        let before = self.pictures();
        act(self);
        wait_until("another picture is drawn", || self.pictures() > before);
    }

    /// Waits until the program is stopped.
    #[track_caller]
    fn is_stopped(&self) {
        let path = format!("/proc/{}/stat", self.pid());
        wait_until("it is stopped", || {
            let stat = fs::read_to_string(&path).expect("it is there");
            stat.rsplit_once(") ")
                .expect("its state")
                .1
                .starts_with('T')
        });
    }

    #[track_caller]
    fn has_its_settings(&self) {
        let settings = tcgetattr(&self.side).expect("its settings");
        assert!(settings == self.settings, "the terminal's settings differ");
    }

    /// Asserts that the screen is as it was before the program started.
    #[track_caller]
    fn has_its_screen(&mut self) {
        self.rows();
        let screen = self.emulator.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor());
        assert_eq!(screen.contents(), "$ myelon top");
        assert_eq!(screen.cursor_position(), (1, 0), "below the prompt");
        // nothing of the pictures has scrolled away either
        self.emulator.screen_mut().set_scrollback(usize::MAX);
        assert_eq!(self.emulator.screen().scrollback(), 0);
    }

    /// Waits for the program's end, and asserts that the terminal is as it was before. Returns how it ended and all
    /// that it wrote.
    #[track_caller]
    fn end(mut self) -> (ExitStatus, String) {
        let status = self.child.end();
        self.has_its_settings();
        self.has_its_screen();
        let output = String::from_utf8(self.output).expect("UTF-8");
        (status, output)
    }

    /// Types the key for the end, waits for it, and returns all that the program wrote.
    #[track_caller]
    fn quit(mut self) -> String {
        self.types(b"q");
        let (status, output) = self.end();
        assert!(status.success(), "{status}");
        output
    }
}

/// An empty terminal that remembers what scrolls away.
fn emulator(size: [u16; 2]) -> Parser {
    let [rows, columns] = size.map(not_zero);
    Parser::new(rows, columns, 100)
}

fn not_zero(number: u16) -> NonZero<u16> {
    NonZero::new(number).expect("a size")
}

fn rows_of(emulator: &Parser) -> Vec<String> {
    let screen = emulator.screen();
    let (_, columns) = screen.size();
    let rows = screen.rows(0, columns.get());
    rows.map(|row| row.trim_end().to_owned()).collect()
}

/// A directory with these rings, each with a consumer.
fn rings(names: &[&str]) -> (Rings, Vec<[Party; 2]>) {
    let rings = Rings::new();
    let parties = names.iter().map(|name| {
        let tx = rings.party_that(name, &["produce 8"]);
        [tx, rings.party_that(name, &["consume 8 reader"])]
    });
    let parties = parties.collect();
    (rings, parties)
}

fn top(rings: &Rings) -> [&str; 5] {
    let directory = rings.directory().to_str().expect("UTF-8");
    ["top", "--dir", directory, "--interval", "20ms"]
}

/// Waits until the screen is that of a terminal in which nothing was drawn before, and returns its rows. A picture
/// that leaves something behind never is.
#[track_caller]
fn as_in_a_new_one(terminal: &mut Terminal, rings: &Rings) -> Vec<String> {
    let (rows, columns) = terminal.emulator.screen().size();
    let mut other = Terminal::start([rows.get(), columns.get()], &top(rings));
    let mut seen = [Vec::new(), Vec::new()];
    // the first picture has no rates
    wait_until("the new one has its second picture", || {
        other.pictures() > 1
    });
    wait_until("both screens are the same", || {
        seen = [terminal.rows(), other.rows()];
        seen[0] == seen[1]
    });
    other.quit();
    let [seen, _] = seen;
    assert!(
        seen[0].starts_with("RING  "),
        "the head is in its place: {seen:?}"
    );
    seen
}

/// How many rows have something on them.
fn filled(rows: &[String]) -> usize {
    rows.iter().filter(|row| !row.is_empty()).count()
}

#[test]
fn no_picture_leaves_anything_behind() {
    let (rings, mut parties) = rings(&["alpha", "middle-with-a-long-name", "zulu"]);
    let mut terminal = Terminal::start([10, 40], &top(&rings));
    for count in 1..=3 {
        parties[0][0].ok("publish 2");
        let lag = (2 * count).to_string();
        wait_until("the events are on the screen", || {
            let rows = terminal.rows();
            rows[1].starts_with("alpha ") && rows[1].split(' ').any(|word| word == lag)
        });
    }
    assert_eq!(filled(&as_in_a_new_one(&mut terminal, &rings)), 4);
    // a row that gets shorter
    fs::rename(rings.path("middle-with-a-long-name"), rings.path("m")).expect("rename");
    let rows = as_in_a_new_one(&mut terminal, &rings);
    assert!(rows[2].starts_with("m "), "{rows:?}");
    assert!(!rows.concat().contains("name"), "{rows:?}");
    // a row that goes
    fs::remove_file(rings.path("m")).expect("remove");
    assert_eq!(filled(&as_in_a_new_one(&mut terminal, &rings)), 3);
    // fewer columns, then fewer rows than rings, then more of both
    terminal.resize([10, 20]);
    let rows = as_in_a_new_one(&mut terminal, &rings);
    assert!(
        filled(&rows) == 3 && rows[2].starts_with("zulu"),
        "{rows:?}"
    );
    terminal.resize([2, 20]);
    let rows = as_in_a_new_one(&mut terminal, &rings);
    assert!(rows.len() == 2 && rows[1].starts_with("alpha"), "{rows:?}");
    terminal.resize([10, 40]);
    assert_eq!(filled(&as_in_a_new_one(&mut terminal, &rings)), 3);
    terminal.quit();
}

#[test]
fn long_and_wide_names_fit_into_the_screen() {
    let (long, wide) = ("b".repeat(60), "環".repeat(30));
    let (rings, _parties) = rings(&["alpha", &long, &wide]);
    for columns in [20, 40, 60, 100] {
        let mut terminal = Terminal::start([4, columns], &top(&rings));
        terminal.shows("alpha");
        let output = terminal.quit();
        // pictures are drawn over each other
        assert!(!output.contains("\x1b[2J"), "{output:?}");
        let (pictures, _) = output.split_once("\x1b[?1049l").expect("its end");
        let mut emulator = emulator([4, columns]);
        let mut parts = pictures.split("\x1b[K").peekable();
        while let Some(part) = parts.next() {
            emulator.process(part.as_bytes());
            if parts.peek().is_some() {
                // many terminals keep the cursor in a full row, and would clear its last character
                let (_, column) = emulator.screen().cursor_position();
                assert!(column < columns, "{part:?}");
                emulator.process(b"\x1b[K");
            }
        }
        // the last ring is in the last row, so a line that is too long would scroll the head away
        let rows = rows_of(&emulator);
        for (row, begins) in rows.iter().zip(["RING", "alpha", "bbb", "環環"]) {
            assert!(row.starts_with(begins), "{rows:?}");
        }
    }
}

#[test]
fn a_signal_gives_the_screen_back() {
    let (rings, _parties) = rings(&["alpha"]);
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        // also while it waits for the next picture, which is a minute away
        for interval in ["1ms", "1m"] {
            let [top, dir, directory, option, _] = top(&rings);
            let mut terminal = Terminal::start([10, 40], &[top, dir, directory, option, interval]);
            terminal.shows("alpha");
            terminal.signal(signal);
            // it ends as a program ends that does not know the signal
            let (status, _) = terminal.end();
            assert_eq!(status.signal(), Some(signal as i32));
        }
    }
}

#[test]
fn pictures_that_were_counted_are_the_last_ones() {
    let (rings, _parties) = rings(&["alpha"]);
    let arguments = [&top(&rings)[..], &["--count", "2"]].concat();
    let (status, output) = Terminal::start([10, 40], &arguments).end();
    assert!(status.success(), "{status}");
    assert_eq!(output.matches("RING").count(), 2);
}

#[test]
fn a_program_that_is_stopped_leaves_the_terminal_and_takes_it_again() {
    let (rings, _parties) = rings(&["alpha"]);
    let [top, dir, directory, option, _] = top(&rings);
    let mut terminal = Terminal::start([10, 40], &[top, dir, directory, option, "1m"]);
    terminal.shows("alpha");
    let stops: [fn(&mut Terminal); 2] = [
        |terminal| terminal.signal(Signal::SIGTSTP),
        |terminal| terminal.types(b"\x1a"),
    ];
    for stop in stops {
        stop(&mut terminal);
        terminal.is_stopped();
        terminal.has_its_settings();
        terminal.has_its_screen();
        terminal.goes_on_after(|terminal| terminal.signal(Signal::SIGCONT));
        assert!(terminal.emulator.screen().alternate_screen());
        assert!(tcgetattr(&terminal.side).expect("its settings") != terminal.settings);
    }
    // stopped without a warning, while a shell sets the terminal as it needs it
    terminal.signal(Signal::SIGSTOP);
    terminal.is_stopped();
    tcsetattr(&terminal.side, SetArg::TCSANOW, &terminal.settings).expect("set");
    terminal.goes_on_after(|terminal| terminal.signal(Signal::SIGCONT));
    assert!(tcgetattr(&terminal.side).expect("its settings") != terminal.settings);
    terminal.quit();
}

#[test]
fn bytes_that_are_no_key_hold_up_nothing() {
    let (rings, _parties) = rings(&["alpha"]);
    let mut terminal = Terminal::start([10, 40], &top(&rings));
    terminal.shows("alpha");
    for _ in 0..3 {
        terminal.goes_on_after(|terminal| terminal.types(b"\xff\x1b[\xff"));
    }
    terminal.quit();
}

#[test]
fn a_terminal_that_nobody_reads_holds_up_no_signal() {
    let (rings, _parties) = rings(&["alpha"]);
    let mut terminal = Terminal::start([10, 40], &top(&rings));
    terminal.shows("alpha");
    tcflow(&terminal.side, FlowArg::TCOOFF).expect("held");
    // some pictures later
    sleep(Duration::from_millis(200));
    terminal.signal(Signal::SIGTERM);
    let status = terminal.child.end();
    assert_eq!(status.signal(), Some(Signal::SIGTERM as i32));
    terminal.has_its_settings();
}

#[test]
fn a_terminal_that_is_gone_ends_the_program_and_an_ignored_signal_does_not() {
    let (rings, _parties) = rings(&["alpha"]);
    let script = "trap '' HUP; exec \"$0\" \"$@\"";
    let mut terminal = Terminal::of([10, 40], script, &top(&rings));
    terminal.shows("alpha");
    for _ in 0..3 {
        terminal.goes_on_after(|terminal| terminal.signal(Signal::SIGHUP));
    }
    drop(terminal.screen);
    let status = terminal.child.end();
    assert_eq!(status.code(), Some(3), "{status}");
}

#[test]
fn a_terminal_that_was_not_told_its_size_has_a_usual_one() {
    let (rings, _parties) = rings(&["alpha"]);
    let mut terminal = Terminal::start([0, 0], &top(&rings));
    terminal.shows("alpha");
    // a narrower one has no column of slots
    assert!(terminal.rows()[0].contains("SLOTS"));
    terminal.quit();
}

#[test]
fn control_what_a_picture_leaves_behind_is_seen() {
    let (rings, _parties) = rings(&["a-ring-with-a-long-name"]);
    let mut terminal = Terminal::start([10, 40], &top(&rings));
    terminal.shows("a-ring");
    fs::rename(rings.path("a-ring-with-a-long-name"), rings.path("a")).expect("rename");
    terminal.shows("a ");
    let output = terminal.quit();
    let (pictures, _) = output.split_once("\x1b[?1049l").expect("its end");
    // the same output, whole and without the command that clears the rest of a row
    let [whole, lacking] = [pictures, &pictures.replace("\x1b[K", "")].map(|output| {
        let mut emulator = emulator([10, 40]);
        emulator.process(output.as_bytes());
        rows_of(&emulator)
    });
    assert!(whole[1].starts_with("a ") && lacking[1].starts_with(&whole[1]));
    assert_ne!(lacking[1], whole[1]);
}
