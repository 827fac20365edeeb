//! The ring whose end ends an endpoint's waits.

use core::ptr::NonNull;
use std::sync::Arc;

use crate::layout::control::{Control, OPEN};
use crate::region::Region;
use crate::sync::{Ordering, process};

/// A ring of which an endpoint reads only whether it was closed. The addresses are kept beside the region, because the
/// layers above ask at each message.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    live: &'static process::AtomicU64,
    control: NonNull<Control>,
    _region: Arc<dyn Region>,
}

// SAFETY: the address is that of control lines, which are all atomic (R1), in a region that is held.
unsafe impl Send for Peer {}
// SAFETY: as for Send.
unsafe impl Sync for Peer {}

impl Peer {
    pub(crate) fn new(region: Arc<dyn Region>) -> Self {
        Self {
            live: region.live_word(),
            control: region.control(),
            _region: region,
        }
    }

    /// Whether the ring was closed.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        // a forked child has not mapped it (R8)
        self.live.load(Ordering::Relaxed) != 0
            // SAFETY: the region is held, and mapped in this process; its control words are all atomic (R1).
            && unsafe { self.control.as_ref() }.producer.closed.load(Ordering::Acquire) != OPEN
    }
}
