//! What `compare` needs to know of a peer: how its ends are opened, and how a message gets in and out.

use std::error::Error;
use std::path::PathBuf;

use super::Opener;
use super::ends::{open_across, open_within};
use crate::payload::fill;

/// What the ends of one connection know of it. Messages go one way, from one sender to every receiver.
#[derive(Clone, Debug)]
pub struct Link {
    /// Its name, which no other connection of any run has.
    pub name: String,
    /// A directory in memory, which is removed with all that is in it when the run ends.
    pub directory: PathBuf,
    /// The messages that the connection should hold.
    pub capacity: usize,
    /// The number of receivers.
    pub receivers: usize,
    /// The number of this receiver, from 0.
    pub receiver: usize,
    /// Whether each end has a core of its own, so that it may spin.
    pub has_cores: bool,
}

impl Link {
    /// A path for this connection in the directory, another one for each number.
    pub fn path(&self, number: usize) -> PathBuf {
        self.directory.join(format!("{}.{number}", self.name))
    }

    /// A prefix for names in shared memory: whatever has it is removed when the run ends.
    pub fn prefix(&self) -> String {
        let name = self.directory.file_name().unwrap_or_default();
        format!("{}.", name.to_string_lossy())
    }
}

/// The end that sends messages of `W` words.
pub trait Sender<const W: usize> {
    /// Sends the message that `write` fills in, and returns true; or returns false if there is no space. An end that
    /// waits inside returns false after about a second.
    fn try_send(&mut self, write: &impl Fn(&mut [u64; W])) -> bool;

    /// The same for a message whose words follow from a key.
    #[inline(always)]
    fn try_send_key(&mut self, key: u64) -> bool {
        self.try_send(&|words| fill(words, key))
    }

    /// Sends what has been held back to be sent together; called after a message to which an answer is expected, and
    /// after the last one.
    fn flush(&mut self) {}
}

/// An end that receives messages of `W` words.
pub trait Receiver<const W: usize> {
    /// Hands the messages that are there to `read`, in order, and returns their number. An end that waits inside
    /// returns 0 only after about a second.
    fn receive(&mut self, read: impl FnMut(&[u64; W])) -> usize;

    /// The same for the next message alone, where that takes less time.
    #[inline(always)]
    fn receive_one(&mut self, read: impl FnMut(&[u64; W])) -> usize {
        self.receive(read)
    }
}

/// A connection between processes. The sender is opened first.
pub trait Transport: 'static {
    /// The sending end.
    type Tx<const W: usize>: Sender<W>;
    /// The receiving end.
    type Rx<const W: usize>: Receiver<W>;

    /// Opens the sending end.
    fn sender<const W: usize>(link: &Link) -> Result<Self::Tx<W>, Box<dyn Error>>;

    /// Opens a receiving end.
    fn receiver<const W: usize>(link: &Link) -> Result<Self::Rx<W>, Box<dyn Error>>;
}

/// The ends of a connection between threads.
#[derive(Debug)]
pub struct Ends<T, R> {
    /// The sending end.
    pub sender: T,
    /// The receiving ends.
    pub receivers: Vec<R>,
}

/// A connection between the threads of one process.
pub trait InProcess: 'static {
    /// The sending end.
    type Tx<const W: usize>: Sender<W> + Send;
    /// The receiving end.
    type Rx<const W: usize>: Receiver<W> + Send;

    /// Opens all ends.
    fn open<const W: usize>(link: &Link) -> Result<Ends<Self::Tx<W>, Self::Rx<W>>, Box<dyn Error>>;
}

/// What rings are compared with.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub(super) name: &'static str,
    pub(super) note: &'static str,
    pub(super) is_in_process: bool,
    pub(super) waits_inside: bool,
    /// The longest message, in bytes.
    pub(super) longest: usize,
    /// The longest message that goes to several receivers.
    pub(super) longest_broadcast: usize,
    pub(super) open: Opener,
}

impl Peer {
    /// A peer that connects processes. The note says its version and how it is used.
    pub const fn across<T: Transport>(name: &'static str, note: &'static str) -> Self {
        Self {
            name,
            note,
            is_in_process: false,
            waits_inside: false,
            longest: usize::MAX,
            longest_broadcast: usize::MAX,
            open: open_across::<T>,
        }
    }

    /// A peer that connects threads.
    pub const fn within<T: InProcess>(name: &'static str, note: &'static str) -> Self {
        Self {
            name,
            note,
            is_in_process: true,
            waits_inside: false,
            longest: usize::MAX,
            longest_broadcast: usize::MAX,
            open: open_within::<T>,
        }
    }

    /// Its ends wait inside their calls, mostly in the kernel; rounds have fewer messages.
    pub const fn waiting_inside(self) -> Self {
        Self {
            waits_inside: true,
            ..self
        }
    }

    /// Its messages have at most so many bytes, to one receiver or to several.
    pub const fn limited_to(self, longest: usize, longest_broadcast: usize) -> Self {
        Self {
            longest,
            longest_broadcast,
            ..self
        }
    }
}
