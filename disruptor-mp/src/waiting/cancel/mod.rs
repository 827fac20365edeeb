//! A token that ends waits from another thread.

pub(crate) mod wake_list;

use std::sync::Arc;

use nix::errno::Errno;

use crate::protocol::sleep;
use crate::region::Region;
use crate::sync::process::Ordering;
use wake_list::{Entry, WakeList};

/// Ends the waits of all endpoints that were built with it: [`RecvError::Cancelled`](crate::RecvError::Cancelled),
/// [`SendError::Cancelled`](crate::SendError::Cancelled), and, from a builder that waits for consumers or for
/// the ring, [`CoordinationCancelled`](crate::MultiProcessError::CoordinationCancelled). Clones are the same
/// token. A token stays cancelled.
///
/// A call that need not wait still succeeds.
///
/// # Signal handlers
///
/// [`cancel`](Self::cancel) and [`is_cancelled`](Self::is_cancelled) are async-signal-safe: they take no lock, allocate
/// and free nothing, never wait, and leave `errno` as it was. So is
/// [`AutoConsumer::shutdown`](crate::AutoConsumer::shutdown). Making, cloning and dropping a token are not, nor is any
/// other call of this crate.
///
/// ```
/// use std::sync::OnceLock;
/// use disruptor_mp::{CancelToken, Deadline, HeapRing, RecvError};
/// use nix::sys::signal::{SigHandler, Signal, raise, signal};
///
/// static STOP: OnceLock<CancelToken> = OnceLock::new();
///
/// extern "C" fn stop(_signal: i32) {
///     if let Some(token) = STOP.get() {
///         token.cancel();
///     }
/// }
///
/// let token = STOP.get_or_init(CancelToken::new);        // before the handler is set: it must not make the token
/// // SAFETY: the handler calls nothing but `cancel`.
/// unsafe { signal(Signal::SIGTERM, SigHandler::Handler(stop)) }?;
///
/// let ring = HeapRing::<u64>::new(8)?;
/// let mut rx = ring.builder().with_cancel_token(token).build_consumer()?;
/// raise(Signal::SIGTERM)?;
/// assert_eq!(rx.recv(Deadline::NEVER).unwrap_err(), RecvError::Cancelled);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Examples
///
/// ```
/// use disruptor_mp::{CancelToken, Deadline, HeapRing, RecvError};
///
/// let ring = HeapRing::<u64>::new(8)?;
/// let _tx = ring.producer()?;
/// let token = CancelToken::new();
/// let mut rx = ring.builder().with_cancel_token(&token).build_consumer()?;
/// std::thread::scope(|scope| {
///     scope.spawn(|| token.cancel());
///     assert_eq!(rx.recv(Deadline::NEVER).unwrap_err(), RecvError::Cancelled);
/// });
/// assert!(token.is_cancelled());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<WakeList<Arc<dyn Region>>>);

/// Clones are the same token.
impl PartialEq for CancelToken {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for CancelToken {}

/// While it is held, cancelling its token wakes every sleeper on the words of its region.
pub(crate) type TokenEntry = Entry<Arc<dyn Region>>;

impl CancelToken {
    /// A token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends all waits, present and future. Never waits; async-signal-safe.
    pub fn cancel(&self) {
        let errno = Errno::last_raw();
        self.0.cancel(|region| {
            // a forked child has not mapped the region and has no endpoint that waits (R8); an observer that
            // may not store polls
            if region.is_writable() && region.live_word().load(Ordering::Relaxed) != 0 {
                // SAFETY: the entry holds the region, which is mapped writable in this process; its control
                // words are all atomic (R1).
                sleep::wake_everybody(unsafe { region.control().as_ref() });
            }
        });
        Errno::set_raw(errno);
    }

    /// Whether the token was cancelled. Async-signal-safe.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Makes a cancellation of the token wake every sleeper on this region's words, as long as the entry is held.
    pub(crate) fn enter(&self, region: &Arc<dyn Region>) -> TokenEntry {
        WakeList::enter(&self.0, Arc::clone(region))
    }
}
