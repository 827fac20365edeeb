//! A file descriptor that becomes readable when a consumer has something to report: for programs with an event loop.
//!
//! A futex is not a file, so a thread of this process sleeps on the ring in the loop's place and writes an eventfd.
//! The thread does nothing until the loop asks for the next event, so that an idle ring costs nothing, and a busy
//! ring costs no call per event. The descriptor is private to this process: producers know nothing of it.

use core::mem::ManuallyDrop;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::Sequence;
use crate::error::RecvError;
use crate::event::Event;
use crate::handles::consumer::Consumer;
use crate::os::descriptor::Mark;
use crate::os::fork;
use crate::protocol::consume::ConsumerCore;
use crate::protocol::sleep;
use crate::region::Region;
use crate::sync::process::{AtomicBool, AtomicU64, Ordering};
use crate::testing::fail::point;
use crate::waiting::cancel::{CancelToken, TokenEntry};

/// Tells an event loop when a consumer's next call would not wait: because of an event, the ring's end, or a
/// cancelled token. The loop waits for readability; the descriptor is non-blocking, and the loop never reads it.
///
/// # Examples
///
/// ```
/// use std::os::fd::AsFd;
/// use disruptor_mp::{Deadline, HeapRing};
/// use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
///
/// let ring = HeapRing::<u64>::new(8)?;
/// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("loop")?);
/// let readiness = rx.readiness()?;
/// tx.send(Deadline::NEVER, |event| *event = 7)?;
/// let mut seen = Vec::new();
/// while seen.is_empty() {
///     // when nothing is left, arm the descriptor; if an event has come by then, read again
///     while let Some(event) = rx.try_recv()? {
///         seen.push(*event);
///     }
///     if seen.is_empty() && !readiness.arm(&rx)? {
///         poll(&mut [PollFd::new(readiness.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?;
///     }
/// }
/// assert_eq!(seen, [7]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Readiness {
    shared: Arc<SentryState>,
    region: Arc<dyn Region>,
    line: usize,
    sentry: Option<JoinHandle<()>>,
    /// Zero in a forked child, which has the descriptor but not the thread, whatever memory the ring is in.
    live: &'static AtomicU64,
}

/// What the handle and its sentry share.
#[derive(Debug)]
struct SentryState {
    bell: Bell,
    orders: Mutex<Orders>,
    changed: Condvar,
}

/// The eventfd. The program may close it, or put another descriptor in its place. Such a descriptor is left
/// alone, unless it is of the same kind (eventfds, epoll and the like are one file to the kernel).
#[derive(Debug)]
struct Bell {
    event: ManuallyDrop<EventFd>,
    mark: Mark,
}

impl Bell {
    fn new() -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Self {
            mark: Mark::put_on(event.as_fd())?,
            event: ManuallyDrop::new(event),
        })
    }

    fn is_lost(&self) -> bool {
        self.mark.is_lost(self.event.as_raw_fd())
    }

    fn ring(&self) {
        if !self.is_lost() {
            // a full counter is readable as well
            let _ = self.event.write(1);
        }
    }

    fn silence(&self) -> io::Result<()> {
        if self.is_lost() {
            let text = "this program has closed the descriptor of this Readiness: make another one";
            return Err(io::Error::other(text));
        }
        match self.event.read() {
            Ok(_) | Err(nix::errno::Errno::EAGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        if !self.is_lost() {
            // SAFETY: dropped once, here, and the number still means this eventfd (R8).
            unsafe { ManuallyDrop::drop(&mut self.event) };
        }
    }
}

/// The orders of the thread.
#[derive(Debug, Default)]
struct Orders {
    /// If set: write the eventfd when this sequence is there.
    await_sequence: Option<Sequence>,
    is_over: bool,
}

impl SentryState {
    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Event, B> Consumer<E, B> {
    /// A descriptor for an event loop, and a thread that sleeps on this consumer's ring for it. One is enough for the
    /// consumer's life.
    ///
    /// # Errors
    ///
    /// When the system refuses a descriptor or a thread; in a forked process.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::fd::AsFd;
    ///
    /// let ring = disruptor_mp::HeapRing::<u64>::new(8)?;
    /// let (_tx, rx) = (ring.producer()?, ring.consumer("loop")?);
    /// let readiness = rx.readiness()?;
    /// let descriptor = readiness.as_fd();                    // for poll, epoll and the like
    /// assert!(!readiness.arm(&rx)?);                         // nothing is there yet: it becomes readable
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn readiness(&self) -> io::Result<Readiness>
    where
        B: 'static,
    {
        if let Some(refusal) = self.refusal() {
            return Err(io::Error::other(refusal));
        }
        let shared = Arc::new(SentryState {
            bell: Bell::new()?,
            orders: Mutex::default(),
            changed: Condvar::new(),
        });
        let region = Arc::clone(self.segment().region());
        let sentry = Sentry {
            shared: Arc::clone(&shared),
            core: ConsumerCore::new(self.segment().view, self.line(), self.next_to_read()),
            interval: self.habits().liveness_interval,
            cancels: self.habits().cancels.clone(),
            _token_entries: self.habits().enter_tokens(&region),
            suspicion: Arc::clone(self.suspicion()),
            region: Arc::clone(&region),
        };
        let thread = thread::Builder::new().name(format!("readiness {}", self.name()));
        Ok(Readiness {
            shared,
            region,
            line: self.line(),
            sentry: Some(thread.spawn(move || sentry.run())?),
            live: fork::live_word(),
        })
    }
}

impl Readiness {
    /// Asks for a report when `consumer`, the one this was made for, has something to report. True: it
    /// already has, and its next call does not wait. False: the descriptor becomes readable when it has. The
    /// descriptor also becomes readable once in a liveness interval while no producer is alive, and when one
    /// of the consumer's tokens is cancelled: the consumer's next call returns that. Release held events that
    /// are no longer needed before this call, not after it.
    ///
    /// # Errors
    ///
    /// When it is another consumer; when the system fails, or the program has closed the descriptor; in a
    /// forked process.
    pub fn arm<E: Event, B>(&self, consumer: &Consumer<E, B>) -> io::Result<bool> {
        // checked first: the descriptor is also the parent's, and reading it here would take the parent's reports
        if self.is_forked() {
            return Err(io::Error::other(RecvError::Forked));
        }
        if !Arc::ptr_eq(consumer.segment().region(), &self.region) || consumer.line() != self.line {
            let text = "a Readiness belongs to the consumer that it was made from";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        if let Some(refusal) = consumer.refusal() {
            return Err(io::Error::other(refusal));
        }
        // reports up to now are known
        self.shared.bell.silence()?;
        point("readiness.drained");
        if consumer.has_news() || consumer.habits().are_cancelled() {
            return Ok(true);
        }
        self.shared.orders().await_sequence = Some(consumer.next_to_read());
        point("readiness.ordered");
        self.shared.changed.notify_one();
        Ok(false)
    }

    fn is_forked(&self) -> bool {
        self.live.load(Ordering::Relaxed) == 0
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.bell.event.as_fd()
    }
}

impl AsRawFd for Readiness {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Drop for Readiness {
    fn drop(&mut self) {
        if self.is_forked() {
            // the parent has the thread, which may have held the lock when the child was made
            std::mem::forget(self.sentry.take());
            return;
        }
        self.shared.orders().is_over = true;
        self.shared.changed.notify_one();
        // SAFETY: the region is held and mapped in this process; its control words are all atomic (R1).
        sleep::wake_everybody(unsafe { self.region.control().as_ref() });
        if let Some(sentry) = self.sentry.take() {
            let _ = sentry.join();
        }
    }
}

/// The thread that sleeps in the loop's place. It reads stamps and writes only the eventfd and its line's bit.
struct Sentry<E> {
    core: ConsumerCore<E>,
    shared: Arc<SentryState>,
    interval: Duration,
    /// The consumer's tokens.
    cancels: Vec<CancelToken>,
    /// The registrations by which the tokens wake the thread, even when the consumer has gone.
    _token_entries: Vec<TokenEntry>,
    /// The consumer's flag for the death of its producer.
    suspicion: Arc<AtomicBool>,
    /// Keeps the segment mapped. Dropped last.
    region: Arc<dyn Region>,
}

impl<E: Event> Sentry<E> {
    fn run(mut self) {
        while let Some(sequence) = self.next_order() {
            point("sentry.ordered");
            self.core.poll_from(sequence);
            self.keep_watch();
            point("sentry.seen");
            self.shared.bell.ring();
        }
    }

    /// Sleeps until there is a sequence to wait for. None: the `Readiness` was dropped.
    fn next_order(&self) -> Option<Sequence> {
        let mut orders = self.shared.orders();
        loop {
            if orders.is_over {
                return None;
            }
            if let Some(sequence) = orders.await_sequence.take() {
                return Some(sequence);
            }
            orders = self
                .shared
                .changed
                .wait(orders)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Returns when the awaited event or the ring's end is there, the wait is cancelled, the producer is
    /// dead, this process's locks are lost, or there are other orders.
    fn keep_watch(&self) {
        loop {
            self.core
                .sleep_until_event(self.interval, || self.has_reason_to_stop());
            if self.core.closed_at().is_some() || self.has_reason_to_stop() {
                return;
            }
            let locks = self.region.locks();
            if matches!(self.core.is_abandoned(locks), Ok(true)) || locks.are_lost() {
                self.suspicion.store(true, Ordering::Relaxed);
                return;
            }
        }
    }

    fn has_reason_to_stop(&self) -> bool {
        self.core.has_come()
            || self.has_new_orders()
            || self.cancels.iter().any(CancelToken::is_cancelled)
    }

    fn has_new_orders(&self) -> bool {
        let orders = self.shared.orders();
        orders.is_over || orders.await_sequence.is_some()
    }
}
