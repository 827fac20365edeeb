//! A token that ends waits from another thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::protocol::sleep;
use crate::region::Region;
use crate::sync::process::{AtomicBool, Ordering};

/// Ends the waits of all endpoints that were built with it: [`RecvError::Cancelled`](crate::RecvError::Cancelled),
/// [`SendError::Cancelled`](crate::SendError::Cancelled), and for consumers that have not come
/// [`CoordinationCancelled`](crate::MultiProcessError::CoordinationCancelled). Clones are the same token. It stays
/// cancelled.
///
/// A call that need not wait succeeds all the same.
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
pub struct CancelToken(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    is_cancelled: AtomicBool,
    /// The segments on whose words its endpoints may sleep.
    regions: Mutex<Vec<Weak<dyn Region>>>,
}

impl CancelToken {
    /// A token that nobody has cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends all waits, those to come included.
    pub fn cancel(&self) {
        self.0.is_cancelled.store(true, Ordering::SeqCst);
        for region in self.regions().iter().filter_map(Weak::upgrade) {
            // a forked child has not mapped it, and has no endpoint that waits (R8)
            if region.live_word().load(Ordering::Relaxed) != 0 {
                // SAFETY: the region is held, and mapped in this process; its control words are all atomic (R1).
                sleep::shake(unsafe { region.control().as_ref() });
            }
        }
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled.load(Ordering::SeqCst)
    }

    /// Wakes whoever sleeps on this region's words when the token is cancelled, as long as somebody holds the region.
    pub(crate) fn watch(&self, region: &Arc<dyn Region>) {
        let mut regions = self.regions();
        regions.retain(|region| region.strong_count() > 0);
        regions.push(Arc::downgrade(region));
    }

    fn regions(&self) -> MutexGuard<'_, Vec<Weak<dyn Region>>> {
        self.0
            .regions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
