//! How a ring ends for its readers: R11.
//!
//! Reads: the closed word, the epoch, the producer's lock, stamps. Writes nothing. Before these functions
//! report an end, they poll the next stamp once more, after they saw the closed word or the free lock.

use std::io;

use super::Locks;
use crate::Sequence;
use crate::layout::control::{Control, OPEN};
use crate::layout::lock_bytes::PRODUCER_BYTE;
use crate::sync::Ordering;
use crate::testing::fail::reached;

/// The last sequence of the ring if it was closed. Afterwards, the caller sees every stamp that was stored before.
pub(crate) fn closed_at(control: &Control) -> Option<Sequence> {
    // SYNC POINT close: pairs with the Release store in `ProducerCore::close`.
    let word = control.producer.closed.load(Ordering::Acquire);
    (word != OPEN).then_some(word)
}

/// Whether the ring was closed and a reader whose next sequence is `next` has read everything. The closed
/// word says which sequence is the last. `is_ready` polls the stamp of `next`.
pub(crate) fn is_at_end(
    control: &Control,
    next: Sequence,
    is_ready: impl FnOnce() -> bool,
) -> bool {
    let Some(last) = closed_at(control) else {
        return false;
    };
    if left_out!(ClosedCheck) {
        return true;
    }
    if is_ready() {
        reached("closed.undrained");
        return false;
    }
    next > last
}

/// Whether the producer died and nothing is left to read: `is_ready` polls the next stamp. The stamp and the
/// closed word are loaded after the lock was found free, and the epoch last of all: a ring that was closed in
/// order and that a successor has opened again meanwhile has a new epoch (R14).
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
    if !left_out!(DeadCheck) && is_ready() {
        reached("dead.undrained");
        return Ok(false);
    }
    Ok((left_out!(DeadClosedCheck) || closed_at(control).is_none())
        && epoch.load(Ordering::Relaxed) == before)
}
