//! POSIX message queues: the kernel keeps messages apart, and both ends wait in it.

use std::error::Error;
use std::ffi::CString;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};

use super::transport::{Link, Receiver, Sender, Transport};
use crate::payload::{bytes_of, bytes_of_mut};
use crate::watch::stop;

/// How long a call waits.
const PATIENCE: Duration = Duration::from_secs(1);

/// A queue, open for sending or for receiving.
#[derive(Debug)]
struct Queue {
    descriptor: libc::mqd_t,
    name: CString,
}

impl Queue {
    fn name(link: &Link, number: usize) -> Result<CString, Box<dyn Error>> {
        Ok(CString::new(format!("/{}.{number}", link.name))?)
    }

    /// Creates a queue.
    fn create(name: CString, capacity: usize, message_bytes: usize) -> io::Result<Self> {
        // SAFETY: all fields are integers.
        let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
        attributes.mq_maxmsg = capacity as _;
        attributes.mq_msgsize = message_bytes as _;
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
        // SAFETY: the name is terminated, and with O_CREAT the call takes a mode and attributes.
        let descriptor = unsafe {
            libc::mq_open(
                name.as_ptr(),
                flags,
                0o600 as libc::mode_t,
                &raw mut attributes,
            )
        };
        Self::of(descriptor, name)
    }

    /// Opens a queue for its only receiver, and removes its name.
    fn join(name: CString) -> io::Result<Self> {
        // SAFETY: the name is terminated.
        let descriptor = unsafe { libc::mq_open(name.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
        Self::of(descriptor, name)
    }

    fn of(descriptor: libc::mqd_t, name: CString) -> io::Result<Self> {
        if descriptor == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { descriptor, name })
    }

    /// Sends a message; false if there was no space for a second.
    fn send(&self, message: &[u8], limit: &mut Limit) -> bool {
        let (start, len) = (message.as_ptr().cast(), message.len());
        // SAFETY: the descriptor is open, and the message has that length.
        let result = unsafe { libc::mq_timedsend(self.descriptor, start, len, 0, limit.get()) };
        result == 0 || limit.has_passed()
    }

    /// Receives a message of that length; false if there was none for a second.
    fn receive(&self, message: &mut [u8], limit: &mut Limit) -> bool {
        let (start, len) = (message.as_mut_ptr().cast(), message.len());
        let no_priority = std::ptr::null_mut();
        // SAFETY: the descriptor is open, there is room for so many bytes, and no priority is asked for.
        let result =
            unsafe { libc::mq_timedreceive(self.descriptor, start, len, no_priority, limit.get()) };
        result as usize == len || limit.has_passed()
    }
}

impl Drop for Queue {
    /// Whichever end is dropped first removes the name.
    fn drop(&mut self) {
        // SAFETY: the descriptor is open, and nothing uses it after this.
        unsafe { libc::mq_close(self.descriptor) };
        // SAFETY: the name is terminated; for one that does not exist the call is an error without effect.
        unsafe { libc::mq_unlink(self.name.as_ptr()) };
    }
}

/// The time at which calls end, which is read from the clock only now and then.
#[derive(Debug, Default)]
struct Limit {
    at: Option<libc::timespec>,
    calls: u8,
}

impl Limit {
    fn get(&mut self) -> *const libc::timespec {
        self.calls = self.calls.wrapping_add(1);
        if self.calls == 0 {
            self.at = None;
        }
        self.at.get_or_insert_with(|| {
            let end = SystemTime::now() + PATIENCE;
            let end = end.duration_since(UNIX_EPOCH).unwrap_or_default();
            // SAFETY: all fields are integers.
            let mut at: libc::timespec = unsafe { std::mem::zeroed() };
            at.tv_sec = end.as_secs() as _;
            at.tv_nsec = end.subsec_nanos() as _;
            at
        })
    }

    /// After a call that has failed: false if its time has passed or a signal has come, so that it can be tried again.
    fn has_passed(&mut self) -> bool {
        self.at = None;
        match io::Error::last_os_error().raw_os_error() {
            Some(libc::ETIMEDOUT | libc::EINTR) => false,
            _ => stop("a message queue of `compare` has failed"),
        }
    }
}

/// The messages that a queue may hold, of those that are wanted: without privileges mostly 10.
pub(super) fn capacity(wanted: usize) -> usize {
    raise_limit();
    let name = myelon::portable_shm_segment_name("pb");
    let probed = CString::new(format!("/{name}")).map(|name| Queue::create(name, wanted, 8));
    if let Ok(Ok(_)) = probed {
        return wanted;
    }
    let most = std::fs::read_to_string("/proc/sys/fs/mqueue/msg_max").unwrap_or_default();
    wanted.min(most.trim().parse().unwrap_or(10))
}

/// Lets this process have as many bytes of queues as it likes, if it may.
fn raise_limit() {
    let _ = setrlimit(Resource::RLIMIT_MSGQUEUE, RLIM_INFINITY, RLIM_INFINITY);
}

/// The transport.
pub(super) struct Queues;

pub(super) struct QueueTx<const W: usize> {
    queues: Vec<Queue>,
    /// The receivers that have the message at hand.
    sent: usize,
    message: [u64; W],
    limit: Limit,
}

pub(super) struct QueueRx<const W: usize> {
    queue: Queue,
    message: [u64; W],
    limit: Limit,
}

impl Transport for Queues {
    type Tx<const W: usize> = QueueTx<W>;
    type Rx<const W: usize> = QueueRx<W>;

    fn sender<const W: usize>(link: &Link) -> Result<QueueTx<W>, Box<dyn Error>> {
        raise_limit();
        let create = |number| -> Result<Queue, Box<dyn Error>> {
            let name = Queue::name(link, number)?;
            Ok(Queue::create(name, link.capacity, W * 8)?)
        };
        Ok(QueueTx {
            queues: (0..link.receivers).map(create).collect::<Result<_, _>>()?,
            sent: 0,
            message: [0; W],
            limit: Limit::default(),
        })
    }

    fn receiver<const W: usize>(link: &Link) -> Result<QueueRx<W>, Box<dyn Error>> {
        Ok(QueueRx {
            queue: Queue::join(Queue::name(link, link.receiver)?)?,
            message: [0; W],
            limit: Limit::default(),
        })
    }
}

impl<const W: usize> Sender<W> for QueueTx<W> {
    fn try_send(&mut self, write: &impl Fn(&mut [u64; W])) -> bool {
        write(&mut self.message);
        while let Some(queue) = self.queues.get(self.sent) {
            if !queue.send(bytes_of(&self.message), &mut self.limit) {
                return false;
            }
            self.sent += 1;
        }
        self.sent = 0;
        true
    }
}

impl<const W: usize> Receiver<W> for QueueRx<W> {
    fn receive(&mut self, mut read: impl FnMut(&[u64; W])) -> usize {
        let bytes = bytes_of_mut(&mut self.message);
        if !self.queue.receive(bytes, &mut self.limit) {
            return 0;
        }
        read(&self.message);
        1
    }
}
