//! The terminal of `top`. Whatever ends or stops the program, the terminal is given back as it was.
//!
//! A thread of its own writes to the terminal, so that one that nobody reads holds up neither keys nor signals.

use std::io::{self, Write, stdin, stdout};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::queue;
use crossterm::terminal::{self, Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{getpgrp, read, tcgetpgrp};
use signal_hook::consts::{SIGCONT, SIGTSTP, SIGTTOU, SIGWINCH};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;
use signal_hook::low_level::{emulate_default_handler, raise};

use crate::Failure;
use crate::signals::{ENDINGS, is_ignored};
use crate::text::width_of;

/// The longest time to wait for a terminal that takes nothing.
const PATIENCE: Duration = Duration::from_secs(1);
/// Columns and rows of a terminal that was not told its size, such as a serial line.
const USUAL_SIZE: (u16, u16) = (80, 24);

const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const CTRL_Z: u8 = 26;
const ESCAPE: u8 = 27;

/// The terminal while the program has it. Dropping it gives the terminal back as it was.
pub(crate) struct Screen {
    signals: SignalDelivery<UnixStream, SignalOnly>,
    to_write: Sender<Vec<u8>>,
    written: Receiver<io::Result<()>>,
    /// How many pieces were given to the thread that writes, and are not written.
    unwritten: u32,
    /// Whether the terminal shows the pictures, and has the settings for them.
    is_ours: bool,
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Leave,
    Stop,
}

impl Screen {
    pub(crate) fn enter() -> Result<Self, Failure> {
        let (read, write) = UnixStream::pair()?;
        let stopping = ENDINGS.into_iter().chain([SIGTSTP]);
        let signals = stopping.filter(|signal| !is_ignored(*signal));
        let signals = signals.chain([SIGCONT, SIGWINCH]);
        let signals = SignalDelivery::with_pipe(read, write, SignalOnly, signals)?;
        let (to_write, pieces) = channel::<Vec<u8>>();
        let (say, written) = channel();
        thread::Builder::new().spawn(move || {
            for piece in pieces {
                let mut out = stdout().lock();
                let result = out.write_all(&piece).and_then(|()| out.flush());
                if say.send(result).is_err() {
                    break;
                }
            }
        })?;
        let mut screen = Self {
            signals,
            to_write,
            written,
            unwritten: 0,
            is_ours: false,
        };
        screen.take()?;
        Ok(screen)
    }

    /// Columns and rows.
    pub(crate) fn size(&self) -> io::Result<(u16, u16)> {
        let size = terminal::window_size()?;
        Ok(match (size.columns, size.rows) {
            (0, _) | (_, 0) => USUAL_SIZE,
            size => size,
        })
    }

    /// Draws over the last picture, as many lines as there is room for. Returns whether it did: a terminal that has not
    /// taken the last picture gets no other one.
    pub(crate) fn draw(&mut self, lines: &[String], columns: u16, rows: u16) -> io::Result<bool> {
        if !self.is_written()? {
            return Ok(false);
        }
        let mut picture = Vec::new();
        for (row, line) in lines.iter().take(usize::from(rows)).enumerate() {
            queue!(picture, MoveTo(0, row as u16))?;
            picture.extend_from_slice(line.as_bytes());
            // behind a line that fills the row, a terminal would clear its last character
            if width_of(line) < usize::from(columns) {
                queue!(picture, Clear(ClearType::UntilNewLine))?;
            }
        }
        if lines.len() < usize::from(rows) {
            queue!(
                picture,
                MoveTo(0, lines.len() as u16),
                Clear(ClearType::FromCursorDown)
            )?;
        }
        self.write(picture);
        Ok(true)
    }

    /// Waits for the next picture, which is due after the interval, and at once if the terminal's size has changed or
    /// the program goes on after a stop. Returns whether the user wants to leave.
    pub(crate) fn is_left_within(&mut self, interval: Duration) -> Result<bool, Failure> {
        let end = Instant::now() + interval;
        loop {
            if self.attend()? {
                return Ok(false);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            if self.has_keys_within(left)? {
                match wish_in(&keys()?) {
                    Some(Wish::Leave) => return Ok(true),
                    Some(Wish::Stop) => raise(SIGTSTP)?,
                    None => {}
                }
            }
        }
    }

    /// Waits for keys or a signal. Returns whether there is something to read, be it the end of the terminal.
    fn has_keys_within(&self, time: Duration) -> io::Result<bool> {
        let (keys, signals) = (stdin(), self.signals.get_read());
        let mut both = [keys.as_fd(), signals.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        // it counts in milliseconds, and rounds down
        let time = PollTimeout::try_from(time + Duration::from_millis(1));
        match poll(&mut both, time.unwrap_or(PollTimeout::MAX)) {
            Ok(_) => Ok(both[0].any() == Some(true)),
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Does what the signals ask for that have come. Returns whether a picture is wanted at once.
    fn attend(&mut self) -> io::Result<bool> {
        let mut is_wanted = false;
        loop {
            let came: Vec<_> = self.signals.pending().collect();
            let is_background = || tcgetpgrp(stdin()).is_ok_and(|group| group != getpgrp());
            let mut stop = None;
            if let Some(ending) = came.iter().find(|signal| ENDINGS.contains(signal)) {
                self.give_back();
                emulate_default_handler(*ending)?;
            } else if came.contains(&SIGCONT) {
                match is_background() {
                    // as the kernel stops a program in the background that changes the terminal
                    true => stop = Some(SIGTTOU),
                    false => self.take()?,
                }
                is_wanted = true;
            } else if came.contains(&SIGTSTP) {
                stop = Some(SIGTSTP);
            }
            is_wanted |= came.contains(&SIGWINCH);
            let Some(stop) = stop else {
                return Ok(is_wanted);
            };
            self.give_back();
            // goes on at SIGCONT, which is attended to next
            emulate_default_handler(stop)?;
        }
    }

    /// Takes the terminal. If another program has had it meanwhile, its settings are made once more.
    fn take(&mut self) -> io::Result<()> {
        terminal::disable_raw_mode()?;
        terminal::enable_raw_mode()?;
        if !self.is_ours {
            self.is_ours = true;
            let mut piece = Vec::new();
            queue!(piece, EnterAlternateScreen, Hide)?;
            self.write(piece);
        }
        Ok(())
    }

    /// Gives the terminal back as it was. One that is gone, or that nobody reads, needs nothing.
    fn give_back(&mut self) {
        if !std::mem::take(&mut self.is_ours) {
            return;
        }
        let mut piece = Vec::new();
        if queue!(piece, Show, LeaveAlternateScreen).is_ok() {
            self.write(piece);
            let _ = self.is_written();
        }
        let _ = terminal::disable_raw_mode();
    }

    fn write(&mut self, piece: Vec<u8>) {
        if self.to_write.send(piece).is_ok() {
            self.unwritten += 1;
        }
    }

    /// Whether the terminal has taken everything.
    fn is_written(&mut self) -> io::Result<bool> {
        let end = Instant::now() + PATIENCE;
        while self.unwritten > 0 {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(result) = self.written.recv_timeout(left) else {
                return Ok(false);
            };
            self.unwritten -= 1;
            result?;
        }
        Ok(true)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// What was typed.
fn keys() -> Result<Vec<u8>, Failure> {
    let mut bytes = [0; 1024];
    match read(stdin(), &mut bytes) {
        Ok(count @ 1..) => Ok(bytes[..count].to_vec()),
        Err(Errno::EINTR | Errno::EAGAIN) => Ok(Vec::new()),
        Ok(0) | Err(_) => Err(Failure::Stopped(String::from("the terminal is gone"))),
    }
}

/// The first wish in what was typed. Other keys send sequences that begin with an escape; each comes in one piece, so
/// an escape at the end is the key of this name.
fn wish_in(keys: &[u8]) -> Option<Wish> {
    let mut keys = keys.iter();
    while let Some(key) = keys.next() {
        match *key {
            b'q' | CTRL_C | CTRL_D => return Some(Wish::Leave),
            CTRL_Z => return Some(Wish::Stop),
            ESCAPE => match keys.next() {
                None => return Some(Wish::Leave),
                Some(b'[') => drop(keys.find(|byte| matches!(byte, b'@'..=b'~'))),
                Some(b'O') => drop(keys.next()),
                Some(_) => {}
            },
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_mean_something_are_told_from_all_others() {
        for keys in [
            "q", "xq", "\x03", "\x04", "\x1b", "x\x1b", "\x1b[Aq", "\x1bOPq",
        ] {
            assert_eq!(wish_in(keys.as_bytes()), Some(Wish::Leave), "{keys:?}");
        }
        assert_eq!(wish_in(b"\x1az"), Some(Wish::Stop));
        // an arrow, a function key, a key with Alt, a paste that is cut off, and what is no text
        for keys in [
            "",
            "x",
            "\x1b[A",
            "\x1b[15;2~",
            "\x1bOQ",
            "\x1bq",
            "\x1b[200",
            "\x1b[",
        ] {
            assert_eq!(wish_in(keys.as_bytes()), None, "{keys:?}");
        }
        assert_eq!(wish_in(b"\xff\xc3\x80"), None);
    }
}
