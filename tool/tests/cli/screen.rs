//! `top` as a user sees it: its output goes to an emulated terminal, and the screen is compared.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
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
    child: Child,
    pieces: mpsc::Receiver<Vec<u8>>,
    reader: JoinHandle<()>,
}

/// Both ends of a terminal of this size. No process that a test starts meanwhile inherits one of them, as that would
/// keep it open.
pub(crate) fn terminal(size: [u16; 2]) -> (File, File) {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC);
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
    fn start([rows, columns]: [u16; 2], arguments: &[&str]) -> Self {
        let (screen, slave) = terminal([rows, columns]);
        let settings = tcgetattr(&slave).expect("its settings");
        let side = || Stdio::from(slave.try_clone().expect("dup"));
        let child = Command::new("setsid")
            .args(["--ctty", env!("CARGO_BIN_EXE_myelon")])
            .args(arguments)
            .env("TERM", "xterm")
            .stdin(side())
            .stdout(side())
            .stderr(side())
            .spawn()
            .expect("it starts");
        let mut source = screen.try_clone().expect("dup");
        let (sender, pieces) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // a terminal whose other side is closed is an error
            while let Ok(count @ 1..) = source.read(&mut bytes) {
                let _ = sender.send(bytes[..count].to_vec());
            }
        });
        let mut emulator = emulator([rows, columns]);
        emulator.process(PROMPT);
        Self {
            emulator,
            output: Vec::new(),
            settings,
            screen,
            side: slave,
            child,
            pieces,
            reader,
        }
    }

    /// The rows of the screen now, without blanks at their ends.
    fn rows(&mut self) -> Vec<String> {
        for piece in self.pieces.try_iter() {
            self.emulator.process(&piece);
            self.output.extend(piece);
        }
        rows_of(&self.emulator)
    }

    /// Resizes the terminal, as a user does with the mouse: the kernel tells the program.
    fn resize(&mut self, [rows, columns]: [u16; 2]) {
        let [high, wide] = [rows, columns].map(not_zero);
        self.emulator.screen_mut().set_size(high, wide);
        resize(&self.side, [rows, columns]);
    }

    /// Types, waits for the program's end, and asserts that the terminal is as it was before.
    #[track_caller]
    fn end(mut self, act: impl FnOnce(&mut File, Pid)) -> (ExitStatus, Vec<u8>) {
        let pid = Pid::from_raw(self.child.id() as i32);
        act(&mut self.screen, pid);
        let status = self.child.wait().expect("it ends");
        let settings = tcgetattr(&self.side).expect("its settings");
        assert!(settings == self.settings, "the terminal's settings differ");
        drop(self.side);
        self.reader.join().expect("read");
        for piece in self.pieces.try_iter() {
            self.emulator.process(&piece);
            self.output.extend(piece);
        }
        let screen = self.emulator.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor());
        assert_eq!(screen.contents(), "$ myelon top");
        assert_eq!(screen.cursor_position(), (1, 0), "below the prompt");
        // nothing of the pictures has scrolled away either
        self.emulator.screen_mut().set_scrollback(usize::MAX);
        assert_eq!(self.emulator.screen().scrollback(), 0);
        (status, self.output)
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
        seen[1] = other.rows();
        other
            .output
            .windows(4)
            .filter(|four| four == b"RING")
            .count()
            > 1
    });
    wait_until("both screens are the same", || {
        seen = [terminal.rows(), other.rows()];
        seen[0] == seen[1]
    });
    let (status, _) = other.end(|keys, _| keys.write_all(b"q").expect("typed"));
    assert!(status.success());
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
    let (status, _) = terminal.end(|keys, _| keys.write_all(b"q").expect("typed"));
    assert!(status.success());
}

#[test]
fn long_and_wide_names_fit_into_the_screen() {
    let (long, wide) = ("b".repeat(60), "環".repeat(30));
    let (rings, _parties) = rings(&["alpha", &long, &wide]);
    for columns in [20, 40, 60, 100] {
        let mut terminal = Terminal::start([4, columns], &top(&rings));
        wait_until("a picture is there", || {
            terminal.rows()[1].starts_with("alpha")
        });
        let (_, output) = terminal.end(|keys, _| keys.write_all(b"q").expect("typed"));
        let output = String::from_utf8(output).expect("UTF-8");
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
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut terminal = Terminal::start([10, 40], &top(&rings));
        wait_until("a picture is there", || {
            terminal.rows()[1].starts_with("alpha")
        });
        let (status, _) = terminal.end(|_, pid| kill(pid, signal).expect("signal"));
        assert!(!status.success());
    }
}

#[test]
fn control_what_a_picture_leaves_behind_is_seen() {
    let (rings, _parties) = rings(&["a-ring-with-a-long-name"]);
    let mut terminal = Terminal::start([10, 40], &top(&rings));
    wait_until("a picture is there", || {
        terminal.rows()[1].starts_with("a-ring")
    });
    fs::rename(rings.path("a-ring-with-a-long-name"), rings.path("a")).expect("rename");
    wait_until("its name is shorter", || {
        terminal.rows()[1].starts_with("a ")
    });
    let (_, output) = terminal.end(|keys, _| keys.write_all(b"q").expect("typed"));
    let output = String::from_utf8(output).expect("UTF-8");
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
