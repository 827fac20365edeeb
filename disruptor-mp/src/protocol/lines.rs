//! Consumer lines: joining (R6), rejoining, leaving, evicting and removing (R16).
//!
//! Whoever holds a line's lock byte writes the line. A holder that dies leaves the line in some state, and the state
//! says what is to be done: JOINING and SETTLING have no position and may be reclaimed by anyone; an ACTIVE
//! automatic one may be evicted; an ACTIVE durable one counts as away and keeps its position.

use std::io;

use super::{Locks, sleep};
use crate::Sequence;
use crate::fail::{buggify, delay, point, reached};
use crate::layout::control::{ConsumerId, ConsumerLine, Control, LineState, Owner};
use crate::layout::lock_bytes::{id_byte, line_byte};
use crate::layout::stamp::MAX_SEQUENCE;
use crate::sync::{Ordering, fence, yield_now};

/// How often a line's lock is tried before its holder is reported; holders that only look give it back at once.
const LINE_LOCK_TRIES: u32 = 10_000;

/// Who wants a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Applicant<'a> {
    /// The id to store.
    pub(crate) id: &'a ConsumerId,
    /// Whether the id is explicit: then it outlives its process.
    pub(crate) durable: bool,
    /// Who it is, for messages.
    pub(crate) owner: Owner,
}

/// A line that the caller now owns, registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which line.
    pub(crate) line: usize,
    /// The first sequence to read.
    pub(crate) next: Sequence,
    /// Whether this consumer was here before.
    pub(crate) rejoined: bool,
}

/// Why there is no line to be had.
#[derive(Debug)]
pub(crate) enum LineError {
    /// A live consumer has the id.
    AlreadyAttached { owner: Option<Owner> },
    /// All lines are in use.
    AllTaken { away: Vec<String> },
    /// No line has the id.
    Unknown,
    /// The system failed.
    Io(io::Error),
}

impl From<io::Error> for LineError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Takes a line: the durable applicant's own if it has one, else a free one.
pub(crate) fn attach(
    control: &Control,
    locks: &dyn Locks,
    who: Applicant<'_>,
) -> Result<Place, LineError> {
    if !who.durable {
        return claim(control, locks, who);
    }
    let byte = id_byte(&who.id.text());
    if !left_out!(AttachIdByte) && !locks.try_lock(byte)? {
        reached("attach.id_taken");
        let owner = position_of(control, who.id).map(|index| control.consumers[index].owner.load());
        return Err(LineError::AlreadyAttached { owner });
    }
    point("attach.id_locked");
    let place = match position_of(control, who.id) {
        Some(index) => rejoin(control, locks, who, index),
        None => claim(control, locks, who),
    };
    if place.is_err() {
        locks.unlock(byte)?;
    }
    place
}

/// The line that holds the position of durable consumer `id`.
pub(crate) fn position_of(control: &Control, id: &ConsumerId) -> Option<usize> {
    control
        .maybe_registered()
        .find(|index| control.consumers[*index].is_position_of(id))
}

/// One store: the position is untouched, and the line is counted before, during and after.
fn rejoin(
    control: &Control,
    locks: &dyn Locks,
    who: Applicant<'_>,
    index: usize,
) -> Result<Place, LineError> {
    let line = &control.consumers[index];
    wait_for_line(locks, index, line)?;
    point("rejoin.locked");
    if cfg!(feature = "dst") && line.state() == LineState::Active {
        reached("rejoin.after_death");
    }
    let next = line
        .sequence
        .load(Ordering::Acquire)
        .clamp(-1, MAX_SEQUENCE)
        + 1;
    line.owner.store(who.owner);
    line.epoch.store(
        control.producer.epoch.load(Ordering::Relaxed),
        Ordering::Relaxed,
    );
    point("rejoin.owner");
    line.set_state(LineState::Active);
    point("rejoin.active");
    sleep::wake_producer(control);
    Ok(Place {
        line: index,
        next,
        rejoined: true,
    })
}

/// The id's byte is ours, so nobody keeps the line's byte for longer than a look.
fn wait_for_line(locks: &dyn Locks, index: usize, line: &ConsumerLine) -> Result<(), LineError> {
    for _ in 0..LINE_LOCK_TRIES {
        if !buggify("line.busy") && locks.try_lock(line_byte(index))? {
            return Ok(());
        }
        reached("line.waited_for");
        yield_now();
    }
    Err(LineError::AlreadyAttached {
        owner: Some(line.owner.load()),
    })
}

/// Takes the first line that nobody has a position in.
fn claim(control: &Control, locks: &dyn Locks, who: Applicant<'_>) -> Result<Place, LineError> {
    for (index, line) in control.consumers.iter().enumerate() {
        if !is_claimable(line) {
            continue;
        }
        delay("claim.before_the_lock");
        point("claim.looked");
        if !left_out!(ClaimLock) && !locks.try_lock(line_byte(index))? {
            continue;
        }
        // its owner may have come and gone between the look and the lock
        if left_out!(ClaimLook) || is_claimable(line) {
            if cfg!(feature = "dst") && line.state() != LineState::Free {
                reached("claim.of_the_dead");
            }
            return Ok(join(control, index, who));
        }
        reached("claim.given_back");
        point("claim.passed");
        locks.unlock(line_byte(index))?;
    }
    Err(LineError::AllTaken {
        away: away(control, locks)?,
    })
}

/// With its lock: whether nobody's position would be lost.
fn is_claimable(line: &ConsumerLine) -> bool {
    line.state() == LineState::Free || is_evictable(line)
}

/// With its lock free: whether the line is one that a dead owner leaves for anyone to clear.
fn is_evictable(line: &ConsumerLine) -> bool {
    match line.state() {
        LineState::Joining | LineState::Settling => !left_out!(ReclaimHalfJoined),
        LineState::Active => left_out!(KeepDurable) || !line.is_durable(),
        LineState::Free | LineState::Away => false,
    }
}

/// R6; the caller holds the line's lock.
pub(crate) fn join(control: &Control, index: usize, who: Applicant<'_>) -> Place {
    let line = &control.consumers[index];
    let floor = &control.producer.floor;
    point("join.locked");
    if !left_out!(JoinBit) {
        control
            .registered
            .bits
            .fetch_or(1 << index, Ordering::AcqRel);
    }
    point("join.bit");
    line.set_state(LineState::Joining);
    point("join.joining");
    line.set_id(who.id, who.durable);
    point("join.id");
    line.owner.store(who.owner);
    line.epoch.store(
        control.producer.epoch.load(Ordering::Relaxed),
        Ordering::Relaxed,
    );
    // SYNC POINT release: a producer that still takes this line for its last owner's must see what that one has read
    let first_look = floor.load(Ordering::Acquire);
    line.sequence.store(first_look, release!(JoinRelease));
    point("join.sequence");
    line.set_state(LineState::Settling);
    point("join.settling");
    // SYNC POINT join: pairs with the fence in `ProducerCore::refresh`.
    if !left_out!(JoinFence) {
        fence(Ordering::SeqCst);
    }
    let start = match left_out!(JoinReread) {
        false => floor.load(Ordering::Acquire).clamp(-1, MAX_SEQUENCE),
        true => line.sequence.load(Ordering::Relaxed),
    };
    line.sequence.store(start, release!(JoinRelease));
    if start != first_look {
        reached("join.floor_moved");
    }
    point("join.reread");
    line.set_state(LineState::Active);
    point("join.active");
    // it may wait for somebody to come
    sleep::wake_producer(control);
    Place {
        line: index,
        next: start + 1,
        rejoined: false,
    }
}

/// The owner of an automatic id leaves the gate.
pub(crate) fn leave(control: &Control, locks: &dyn Locks, index: usize) -> io::Result<()> {
    set_free(control, index);
    let unlocked = locks.unlock(line_byte(index));
    point("leave.unlocked");
    unlocked
}

/// The owner of a durable id goes, its position stays.
pub(crate) fn go_away(
    control: &Control,
    locks: &dyn Locks,
    index: usize,
    id: &ConsumerId,
) -> io::Result<()> {
    control.consumers[index].set_state(LineState::Away);
    point("away.state");
    sleep::wake_producer(control);
    locks.unlock(line_byte(index))?;
    point("away.unlocked");
    locks.unlock(id_byte(&id.text()))
}

/// FREE first, then the hint.
fn set_free(control: &Control, index: usize) {
    if !left_out!(LineFree) {
        control.consumers[index].set_state(LineState::Free);
    }
    point("leave.free");
    if !left_out!(LineBit) {
        control
            .registered
            .bits
            .fetch_and(!(1 << index), Ordering::AcqRel);
    }
    point("leave.bit");
    sleep::wake_producer(control);
}

/// Clears every line that a dead owner left without a durable position; says how many.
pub(crate) fn evict_dead(control: &Control, locks: &dyn Locks) -> io::Result<usize> {
    let mut evicted = 0;
    for index in control.maybe_registered() {
        let line = &control.consumers[index];
        let byte = line_byte(index);
        if !is_evictable(line) || locks.is_held_by_other(byte)? {
            continue;
        }
        delay("evict.before_the_lock");
        point("evict.looked");
        if !locks.try_lock(byte)? {
            continue;
        }
        point("evict.locked");
        // a claimer may have come between the look and the lock
        if left_out!(EvictLook) || is_evictable(line) {
            set_free(control, index);
            point("evict.free");
            evicted += 1;
        } else {
            reached("evict.line_taken");
        }
        locks.unlock(byte)?;
    }
    Ok(evicted)
}

/// Forgets the durable consumer `id`, which must not be attached.
pub(crate) fn remove(
    control: &Control,
    locks: &dyn Locks,
    id: &ConsumerId,
) -> Result<(), LineError> {
    let byte = id_byte(&id.text());
    if !left_out!(RemoveIdByte) && !locks.try_lock(byte)? {
        reached("remove.attached");
        let owner = position_of(control, id).map(|index| control.consumers[index].owner.load());
        return Err(LineError::AlreadyAttached { owner });
    }
    point("remove.id_locked");
    let removed = remove_locked(control, locks, id);
    locks.unlock(byte)?;
    removed
}

fn remove_locked(control: &Control, locks: &dyn Locks, id: &ConsumerId) -> Result<(), LineError> {
    let index = position_of(control, id).ok_or(LineError::Unknown)?;
    let line = &control.consumers[index];
    if !left_out!(RemoveLineLock) {
        wait_for_line(locks, index, line)?;
    }
    point("remove.locked");
    if line.is_position_of(id) {
        set_free(control, index);
    }
    locks.unlock(line_byte(index))?;
    point("remove.unlocked");
    Ok(())
}

/// The ids of durable consumers that are not here.
pub(crate) fn away(control: &Control, locks: &dyn Locks) -> io::Result<Vec<String>> {
    let mut ids = Vec::new();
    for index in control.maybe_registered() {
        let line = &control.consumers[index];
        let durable =
            line.is_durable() && matches!(line.state(), LineState::Active | LineState::Away);
        if durable && !locks.is_held_by_other(line_byte(index))? {
            ids.push(line.id().text());
        }
    }
    Ok(ids)
}
