//! Consumer lines: joining (R6), rejoining, leaving, evicting and removing (R16).
//!
//! The process that holds a line's lock byte writes the line. A holder that dies leaves the line in some
//! state, and the state says what happens next: a JOINING or SETTLING line has no position, and any process
//! may reclaim it; an ACTIVE line with an automatic id may be evicted; an ACTIVE line with a durable id
//! counts as away and keeps its position.

use std::io;
use std::time::Duration;

use super::{Locks, sleep};
use crate::Sequence;
use crate::clock;
use crate::layout::control::{ConsumerId, ConsumerLine, Control, LineState, Owner};
use crate::layout::lock_bytes::{id_byte, line_byte};
use crate::layout::stamp::MAX_SEQUENCE;
use crate::sync::{Ordering, fence};
use crate::testing::fail::{buggify, delay, point, reached};

/// Pauses between tries of a line's lock before the wait is reported as an error: about a second in all. A
/// holder that only checks the line gives the lock back at once, but the waiting process may have preempted
/// it, so that yielding alone would not let it continue.
const LINE_LOCK_PAUSES: u32 = 1_000;
const PAUSE_MIN: Duration = Duration::from_micros(50);
const PAUSE_MAX: Duration = Duration::from_millis(1);

/// The consumer that wants a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Applicant<'a> {
    /// The id to store.
    pub(crate) id: &'a ConsumerId,
    /// Whether the id is explicit: then its position outlives the process.
    pub(crate) durable: bool,
    /// Its process, for messages.
    pub(crate) owner: Owner,
    /// Whether the consumer has come; false where a place is kept for one that has not.
    pub(crate) is_here: bool,
}

/// A registered line that the caller now owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinePlace {
    /// Which line.
    pub(crate) line: usize,
    /// The first sequence to read.
    pub(crate) next: Sequence,
    /// Whether this consumer was here before.
    pub(crate) rejoined: bool,
}

/// Why no line can be had.
#[derive(Debug)]
pub(crate) enum LineError {
    /// A live consumer has the id.
    AlreadyAttached { owner: Option<Owner> },
    /// All lines are in use.
    AllTaken { away: Vec<String> },
    /// No line has the id.
    Unknown,
    /// A system call failed.
    Io(io::Error),
}

impl From<io::Error> for LineError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Takes a line: the durable applicant's own line if it has one, else a free one.
pub(crate) fn attach(
    control: &Control,
    locks: &dyn Locks,
    who: Applicant<'_>,
) -> Result<LinePlace, LineError> {
    if !who.durable {
        return take(control, locks, who);
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
        None => take(control, locks, who),
    };
    if place.is_err() {
        locks.unlock(byte)?;
    }
    place
}

/// Keeps a place for the durable consumer `id`, which has not come, as if it had come and gone: its position
/// is the floor, and the gate respects it. Does nothing if the consumer has a position.
pub(crate) fn reserve(
    control: &Control,
    locks: &dyn Locks,
    id: &ConsumerId,
) -> Result<(), LineError> {
    let byte = id_byte(&id.text());
    if !locks.try_lock(byte)? {
        return Err(LineError::AlreadyAttached { owner: None });
    }
    point("reserve.id_locked");
    let who = Applicant {
        id,
        durable: true,
        owner: Owner::NOBODY,
        is_here: false,
    };
    let reserved = match position_of(control, id) {
        Some(_) => Ok(()),
        None => take(control, locks, who).and_then(|place| {
            control.consumers[place.line].set_state(LineState::Away);
            point("reserve.away");
            Ok(locks.unlock(line_byte(place.line))?)
        }),
    };
    locks.unlock(byte)?;
    point("reserve.unlocked");
    reserved
}

/// The line that holds the position of the durable consumer `id`.
pub(crate) fn position_of(control: &Control, id: &ConsumerId) -> Option<usize> {
    control
        .maybe_registered()
        .find(|index| control.consumers[*index].is_position_of(id))
}

/// Rejoins with one store of the state: the position stays, and the gate respects the line before, during and
/// after it.
fn rejoin(
    control: &Control,
    locks: &dyn Locks,
    who: Applicant<'_>,
    index: usize,
) -> Result<LinePlace, LineError> {
    let line = &control.consumers[index];
    wait_for_line(locks, index)?;
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
    line.set_arrived();
    point("rejoin.active");
    sleep::wake_producer(control);
    Ok(LinePlace {
        line: index,
        next,
        rejoined: true,
    })
}

/// Takes the line's byte. The caller holds the id's byte, so other processes hold the line's byte only for a
/// short check.
fn wait_for_line(locks: &dyn Locks, index: usize) -> Result<(), LineError> {
    let mut pause = PAUSE_MIN;
    for _ in 0..LINE_LOCK_PAUSES {
        if !buggify("line.busy") && locks.try_lock(line_byte(index))? {
            return Ok(());
        }
        reached("line.waited_for");
        clock::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
    Err(LineError::Io(io::Error::new(
        io::ErrorKind::TimedOut,
        "another process has held the lock of this consumer's line for a second: it is stopped, or gets no \
         processor time; try again when it runs",
    )))
}

/// Takes the first line in which no consumer has a position. Lines that tell of the departure of another
/// durable consumer come last.
fn take(control: &Control, locks: &dyn Locks, who: Applicant<'_>) -> Result<LinePlace, LineError> {
    let lines = || control.consumers.iter().enumerate();
    let tells_of_another = |line: &ConsumerLine| tells_of_departed(line) && line.id() != *who.id;
    let (first, last) = (
        lines().filter(|(_, line)| !tells_of_another(line)),
        lines().filter(|(_, line)| tells_of_another(line)),
    );
    for (index, line) in first.chain(last) {
        if !is_free_to_take(line) {
            continue;
        }
        delay("take.before_the_lock");
        point("take.checked");
        if !left_out!(TakeLock) && !locks.try_lock(line_byte(index))? {
            continue;
        }
        // the line's owner may have come and gone between the check and the lock
        if left_out!(TakeCheck) || is_free_to_take(line) {
            if cfg!(feature = "dst") && line.state() != LineState::Free {
                reached("take.of_the_dead");
            }
            return Ok(join(control, index, who));
        }
        reached("take.given_back");
        point("take.passed");
        locks.unlock(line_byte(index))?;
    }
    Err(LineError::AllTaken {
        away: away(control, locks)?,
    })
}

/// Whether a durable consumer has left this line, or was removed from it.
fn tells_of_departed(line: &ConsumerLine) -> bool {
    line.state() == LineState::Free && line.is_durable()
}

/// What a line tells of a durable consumer that has left, or was removed. The greater one is the later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Departed {
    /// Whether the ring has had the same producer since.
    pub(crate) is_of_this_producer: bool,
    /// The last sequence that it had released.
    pub(crate) released: Sequence,
}

/// Whether the durable consumer `id` has left, or was removed. `None` also if another consumer has needed its line
/// since.
pub(crate) fn departed(control: &Control, id: &ConsumerId) -> Option<Departed> {
    let epoch = control.producer.epoch.load(Ordering::Relaxed);
    let lines = control.consumers.iter().filter_map(|line| {
        if !tells_of_departed(line) || line.id() != *id {
            return None;
        }
        let departed = Departed {
            is_of_this_producer: line.epoch.load(Ordering::Relaxed) == epoch,
            released: line.sequence.load(Ordering::Relaxed),
        };
        // the state is read again, as the line may have changed hands
        (tells_of_departed(line) && line.id() == *id).then_some(departed)
    });
    // where two lines tell of it, the later departure counts
    lines.max()
}

/// The consumer of this line goes for good, and the line records under which producer (its epoch). The caller
/// holds the line's lock.
fn depart(control: &Control, index: usize) {
    let epoch = control.producer.epoch.load(Ordering::Relaxed);
    control.consumers[index]
        .epoch
        .store(epoch, Ordering::Relaxed);
    set_free(control, index);
}

/// Makes the lines say that this durable consumer was removed, although it never had a line.
pub(crate) fn leave_word(
    control: &Control,
    locks: &dyn Locks,
    who: Applicant<'_>,
) -> Result<(), LineError> {
    let place = attach(control, locks, who)?;
    depart(control, place.line);
    locks.unlock(line_byte(place.line))?;
    Ok(locks.unlock(id_byte(&who.id.text()))?)
}

/// Whether taking this line loses no position. The caller holds the line's lock, or asks again once it does.
fn is_free_to_take(line: &ConsumerLine) -> bool {
    line.state() == LineState::Free || is_evictable(line)
}

/// Whether a dead owner has left this line for any process to clear, given that the line's lock is free.
fn is_evictable(line: &ConsumerLine) -> bool {
    match line.state() {
        LineState::Joining | LineState::Settling => !left_out!(ReclaimHalfJoined),
        LineState::Active => left_out!(KeepDurable) || !line.is_durable(),
        LineState::Free | LineState::Away => false,
    }
}

/// R6. The caller holds the line's lock.
pub(crate) fn join(control: &Control, index: usize, who: Applicant<'_>) -> LinePlace {
    let line = &control.consumers[index];
    let floor = &control.producer.floor;
    point("join.locked");
    step!(
        JoinBit,
        control
            .registered
            .bits
            .fetch_or(1 << index, Ordering::AcqRel)
    );
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
    // SYNC POINT release: a producer that still takes this line for its last owner's must see that owner's
    // reads as done
    let first_read = floor.load(Ordering::Acquire);
    line.sequence.store(first_read, release!(JoinRelease));
    point("join.sequence");
    line.set_state(LineState::Settling);
    point("join.settling");
    // SYNC POINT join: pairs with the fence in `ProducerCore::refresh`.
    step!(JoinFence, fence(Ordering::SeqCst));
    let mut start = first_read;
    step!(
        JoinReread,
        start = floor.load(Ordering::Acquire).clamp(-1, MAX_SEQUENCE)
    );
    line.sequence.store(start, release!(JoinRelease));
    if start != first_read {
        reached("join.floor_moved");
    }
    point("join.reread");
    line.set_state(LineState::Active);
    if who.is_here {
        line.set_arrived();
    }
    point("join.active");
    // the producer may wait for a consumer to come
    sleep::wake_producer(control);
    LinePlace {
        line: index,
        next: start + 1,
        rejoined: false,
    }
}

/// A consumer leaves the gate: one with an automatic id, or a durable one for good.
pub(crate) fn leave(control: &Control, locks: &dyn Locks, index: usize) -> io::Result<()> {
    depart(control, index);
    let unlocked = locks.unlock(line_byte(index));
    point("leave.unlocked");
    unlocked
}

/// A durable consumer goes; its position stays.
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

/// Sets the state FREE first, then clears the bit, which is only a hint.
fn set_free(control: &Control, index: usize) {
    step!(
        LineFree,
        control.consumers[index].set_state(LineState::Free)
    );
    point("leave.free");
    step!(
        LineBit,
        control
            .registered
            .bits
            .fetch_and(!(1 << index), Ordering::AcqRel)
    );
    point("leave.bit");
    sleep::wake_producer(control);
}

/// Clears every line that a dead owner left without a durable position; returns how many.
pub(crate) fn evict_dead(control: &Control, locks: &dyn Locks) -> io::Result<usize> {
    let mut evicted = 0;
    for index in control.maybe_registered() {
        let line = &control.consumers[index];
        let byte = line_byte(index);
        if !is_evictable(line) || locks.is_held_by_other(byte)? {
            continue;
        }
        delay("evict.before_the_lock");
        point("evict.checked");
        if !locks.try_lock(byte)? {
            continue;
        }
        point("evict.locked");
        // a taker may have come between the check and the lock
        if left_out!(EvictCheck) || is_evictable(line) {
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
    step!(RemoveLineLock, wait_for_line(locks, index)?);
    point("remove.locked");
    if line.is_position_of(id) {
        depart(control, index);
    }
    locks.unlock(line_byte(index))?;
    point("remove.unlocked");
    Ok(())
}

/// The ids of durable consumers that have a position and are not attached.
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
