//! What a hot call checks before all else, in one load: whether it may take its fast path.

use crate::sync::process::{AtomicU64, Ordering};

/// The word that a hot call loads. If it is zero, the call takes its slow half. It is the live word of the ring's
/// region, which reads zero in a forked child (R8), or [`CLOSED`](Self::CLOSED).
#[derive(Clone, Copy, Debug)]
pub(crate) struct FastPath(&'static AtomicU64);

static ZERO: AtomicU64 = AtomicU64::new(0);

impl FastPath {
    /// Every call takes its slow half: in a ring with observers (R13), without the lock, and while required consumers
    /// need attention.
    pub(crate) const CLOSED: Self = Self(&ZERO);

    /// Open in the process whose live word this is.
    pub(crate) fn open(live_word: &'static AtomicU64) -> Self {
        Self(live_word)
    }

    #[inline(always)]
    pub(crate) fn is_open(self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }
}
