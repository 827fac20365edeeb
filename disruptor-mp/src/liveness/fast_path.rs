//! What a hot call checks before all else, in one load: whether it may take its fast path.

use crate::sync::process::{AtomicU64, Ordering};

/// The word that a hot call loads. If it is zero, the call takes its slow half. It is the live word of the ring's
/// region, which reads zero in a forked child (R8), or that of [`EVERY_CALL_CHECKS`](Self::EVERY_CALL_CHECKS).
#[derive(Clone, Copy, Debug)]
pub(crate) struct FastPath(&'static AtomicU64);

static ZERO: AtomicU64 = AtomicU64::new(0);

impl FastPath {
    /// The state of a handle whose every call takes its slow half, which checks what the call may do:
    ///
    /// - the ring has observers: the event is copied to its slot word by word (R13);
    /// - the handle has lost its lock: the call is refused (R8);
    /// - required consumers have not come, or have failed: the call waits or is refused.
    pub(crate) const EVERY_CALL_CHECKS: Self = Self(&ZERO);

    /// Open in the process whose live word this is.
    pub(crate) fn open(live_word: &'static AtomicU64) -> Self {
        Self(live_word)
    }

    #[inline(always)]
    pub(crate) fn is_open(self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }
}
