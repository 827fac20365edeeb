//! How a ring ends for who reads it: R11.
//!
//! Reads: the closed word, the epoch, the producer's lock, stamps. Writes nothing. Whoever says that a ring has ended has
//! looked at the next stamp once more, after the closed word or the free lock was seen.

use std::io;

use super::Locks;
use crate::Sequence;
use crate::fail::reached;
use crate::layout::control::{Control, OPEN};
use crate::layout::lock_bytes::PRODUCER_BYTE;
use crate::sync::Ordering;

/// The last sequence of the ring if it was closed. The stamps that precede it are visible afterwards.
pub(crate) fn closed_at(control: &Control) -> Option<Sequence> {
    // SYNC POINT close: pairs with the Release store in `ProducerCore::close`.
    let word = control.producer.closed.load(Ordering::Acquire);
    (word != OPEN).then_some(word)
}

/// Whether the ring was closed and nothing is left for who reads `next` next. The closed word says which sequence is the
/// last. `is_ready` looks at the stamp of `next`.
pub(crate) fn is_at_end(
    control: &Control,
    next: Sequence,
    is_ready: impl FnOnce() -> bool,
) -> bool {
    let Some(last) = closed_at(control) else {
        return false;
    };
    if left_out!(ClosedLook) {
        return true;
    }
    if is_ready() {
        reached("closed.undrained");
        return false;
    }
    next > last
}

/// Whether the producer died and nothing is left: `is_ready` looks at the next stamp. That and the closed word are looked
/// at again after the free lock, and the epoch last of all: a ring that was closed in order, and that a successor has
/// opened again meanwhile, has a new one (R14).
pub(crate) fn is_abandoned(
    control: &Control,
    locks: &dyn Locks,
    is_ready: impl FnOnce() -> bool,
) -> io::Result<bool> {
    let epoch = &control.producer.epoch;
    let before = epoch.load(Ordering::Acquire);
    if locks.is_held_by_other(PRODUCER_BYTE)? {
        return Ok(false);
    }
    if !left_out!(DeadLook) && is_ready() {
        reached("dead.undrained");
        return Ok(false);
    }
    Ok((left_out!(DeadClosedLook) || closed_at(control).is_none())
        && epoch.load(Ordering::Relaxed) == before)
}
