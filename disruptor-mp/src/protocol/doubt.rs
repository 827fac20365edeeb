//! Doubt: R17. After a power cut, the pages of a ring's file come from different moments. The same holds for a copy
//! that was made while the ring was in use. Events may be torn, and positions may lie ahead of them or behind.
//!
//! The first process that opens such a ring settles the doubt, under the producer's lock, before anything is
//! read or published. No other process is in the ring then. The ring starts again above every sequence that
//! any process can have seen, with no events but those that are known to be on the disk. Each durable
//! consumer finds in its line how many events are in doubt.
//!
//! A process that dies at any of these steps leaves a ring in doubt, and the next process continues with the
//! same steps: the result is written down first, and no earlier value is as high as a new one. A power cut
//! meanwhile is another doubt, in which nothing is known to be on the disk.

use std::io;

use super::view::RingView;
use crate::Sequence;
use crate::event::Event;
use crate::layout::control::{ConsumerLine, Control, LineState, NOTHING_WANTED, OPEN, Origin};
use crate::layout::stamp::{self, MAX_SEQUENCE};
use crate::sync::{Ordering, process};
use crate::testing::fail::point;

/// A stamp or a line that lies further than this above everything known was not written by a producer of this
/// crate. It must not use up the sequences.
const PLAUSIBLE: Sequence = 1 << 48;
/// Frames store the low 32 bits of their sequence.
const RISE: Sequence = 1 << 32;

/// The circumstances under which a doubt is settled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ground {
    /// This boot and the ring's file.
    pub(crate) here: Origin,
    /// By the clock, no event of the ring had a higher sequence; −1 where the clock says nothing.
    pub(crate) highest_by_clock: Sequence,
}

/// The content of the lines and stamps, and the new floor that follows.
#[derive(Clone, Copy, Debug)]
struct Finding {
    floor: Sequence,
    /// Events above the floor up to this sequence are known to be on the disk.
    sound_to: Sequence,
    /// The highest plausible sequence in any line, stamp or floor.
    seen: Sequence,
    /// The future floor: above every sequence that was seen.
    new_floor: Sequence,
}

impl Finding {
    /// By how much sequences rise: a multiple of the capacity, so that events stay in their slots, and of
    /// [`RISE`], so that the sequences in frames stay true.
    fn rise(&self) -> Sequence {
        self.new_floor - self.floor
    }
}

/// Settles the doubt about a ring. The caller has the producer's lock and maps the ring writable. It has seen that no
/// other process has any lock, and that the ring is in doubt. `persist` writes the whole file to the disk.
pub(crate) fn settle<E: Event>(
    view: RingView<E>,
    ground: Ground,
    persist: impl Fn() -> io::Result<()>,
) -> io::Result<()> {
    let control = view.control();
    let line = &control.producer;
    let finding = match resume(view, ground) {
        Some(begun) => begun,
        None => {
            let found = find(view, ground);
            line.doubt_seen.store(found.seen, Ordering::Relaxed);
            line.doubt_floor.store(found.new_floor, Ordering::Relaxed);
            line.doubt_tag.store(ground.here.tag(), Ordering::Release);
            found
        }
    };
    point("settle.begun");
    let keeps = finding.sound_to > finding.floor;
    if keeps {
        persist()?;
    }
    for (index, consumer) in control.consumers.iter().enumerate() {
        settle_line(control, index, consumer, finding);
        point("settle.line");
    }
    for index in 0..view.capacity() as i64 {
        settle_slot(view, index, finding);
    }
    control.waiters.sleepers.store(0, Ordering::Relaxed);
    let wanted = &control.waiters.space_wanted;
    wanted.store(NOTHING_WANTED, Ordering::Relaxed);
    // an end that is not known to be on the disk does not count: the ring was left, and a successor may come
    line.closed.store(OPEN, Ordering::Relaxed);
    line.ended.store(0, Ordering::Relaxed);
    if keeps {
        persist()?;
    }
    point("settle.cleared");
    let synced = match keeps {
        true => finding.sound_to + finding.rise() + 1,
        false => 0,
    };
    line.synced.store(synced, Ordering::Relaxed);
    line.floor.store(finding.new_floor, Ordering::Release);
    point("settle.floor");
    line.doubt_floor.store(0, Ordering::Relaxed);
    line.doubt_tag.store(0, Ordering::Relaxed);
    point("settle.opened");
    line.origin.store(ground.here);
    point("settle.vouched");
    persist()
}

/// The settling that another process began in this boot and did not finish because it died. `None` if there
/// is none, or it was begun in another boot.
fn resume<E: Event>(view: RingView<E>, ground: Ground) -> Option<Finding> {
    let line = &view.control().producer;
    let floor = floor_of(view);
    let new_floor = line.doubt_floor.load(Ordering::Relaxed);
    let rise = new_floor.checked_sub(floor)?;
    // a rise of 0: only the last steps, from the floor on, are left
    (line.doubt_tag.load(Ordering::Acquire) == ground.here.tag()
        && rise >= 0
        && rise % step_of(view) == 0)
        .then(|| Finding {
            floor,
            sound_to: last_sound(view, floor),
            seen: line
                .doubt_seen
                .load(Ordering::Relaxed)
                .clamp(floor, new_floor),
            new_floor,
        })
}

/// Sequences rise by a multiple of this.
fn step_of<E: Event>(view: RingView<E>) -> Sequence {
    (view.capacity() as i64).max(RISE)
}

fn floor_of<E: Event>(view: RingView<E>) -> Sequence {
    let floor = view.control().producer.floor.load(Ordering::Relaxed);
    floor.clamp(-1, MAX_SEQUENCE)
}

fn find<E: Event>(view: RingView<E>, ground: Ground) -> Finding {
    let control = view.control();
    let capacity = view.capacity() as i64;
    let floor = floor_of(view);
    if control.producer.doubt_tag.load(Ordering::Relaxed) != 0 {
        // the power failed while another doubt was being settled
        control.producer.synced.store(0, Ordering::Relaxed);
    }
    let sound_to = last_sound(view, floor);
    let by_clock = ground.highest_by_clock;
    let most = floor.max(by_clock).saturating_add(PLAUSIBLE);
    let lines = control.consumers.iter().filter(|line| is_durable(line));
    let positions = lines.map(|line| line.sequence.load(Ordering::Relaxed));
    let seen = positions
        .chain((0..capacity).filter_map(|index| stamped(view, index)))
        .filter(|sequence| *sequence <= most)
        .fold(floor.max(sound_to), Sequence::max);
    // processes may have seen later events than the file shows: a lap is allowed for, and more if the clock says so
    let least = seen.saturating_add(capacity).max(by_clock);
    let step = step_of(view);
    let steps = (least - floor).div_euclid(step) + 1;
    let steps = steps.min((MAX_SEQUENCE - floor) / step);
    Finding {
        floor,
        sound_to,
        seen,
        new_floor: floor + steps * step,
    }
}

/// The sequence in the stamp of slot `index`, if it belongs to that slot.
fn stamped<E: Event>(view: RingView<E>, index: i64) -> Option<Sequence> {
    let sequence = stamp::sequence_of(view.stamp(index).load(Ordering::Acquire))?;
    (sequence % view.capacity() as i64 == index).then_some(sequence)
}

/// The last event above the floor that is known to be on the disk. The synced word is set only in a ring
/// whose floor is on the disk before slots are reused. There, a slot above the floor holds its event, under
/// its sequence or under the risen one; the first slot that holds anything else ends the known events.
fn last_sound<E: Event>(view: RingView<E>, floor: Sequence) -> Sequence {
    let synced = view.control().producer.synced.load(Ordering::Relaxed);
    let synced = synced.saturating_sub(1).min(floor + view.capacity() as i64);
    (floor + 1..=synced)
        .take_while(|sequence| {
            let stamp = view.stamp(*sequence).load(Ordering::Acquire);
            let found = stamp::sequence_of(stamp).filter(|found| stamp == stamp::published(*found));
            found.is_some_and(|found| found >= *sequence && (found - sequence) % step_of(view) == 0)
        })
        .last()
        .unwrap_or(floor)
}

fn is_durable(line: &ConsumerLine) -> bool {
    line.is_durable() && matches!(line.state(), LineState::Active | LineState::Away)
}

/// Moves a durable consumer to the new floor, or further if it had released some of the kept events; frees
/// any other line.
fn settle_line(control: &Control, index: usize, line: &ConsumerLine, finding: Finding) {
    let bits = &control.registered.bits;
    // one consumer may have two lines, from two moments: one that it left, and one that it took later
    let has_twin = |line: &ConsumerLine| {
        let twin = |other: &ConsumerLine| is_durable(other) && other.id() == line.id();
        control.consumers[..index].iter().any(twin)
    };
    if !is_durable(line) || has_twin(line) {
        line.set_state(LineState::Free);
        bits.fetch_and(!(1 << index), Ordering::AcqRel);
        return;
    }
    bits.fetch_or(1 << index, Ordering::AcqRel);
    let before = line.sequence.load(Ordering::Relaxed);
    let moved = finding.new_floor..=finding.sound_to + finding.rise();
    if finding.rise() > 0 && !moved.contains(&before) {
        // higher than everything plausible: the position is unknown
        let before = if before > finding.seen { -1 } else { before };
        let known = before.clamp(finding.floor, finding.sound_to);
        let events = finding.seen - before.max(finding.sound_to);
        let untold = line.in_doubt.load(Ordering::Relaxed).max(1);
        line.in_doubt_next.store(
            untold.saturating_add(events.max(0) as u64),
            Ordering::Relaxed,
        );
        point("settle.counted");
        line.sequence
            .store(known + finding.rise(), Ordering::Release);
        point("settle.moved");
    }
    line.doubt_at.store(finding.new_floor, Ordering::Relaxed);
    let in_doubt = line.in_doubt_next.load(Ordering::Relaxed);
    line.in_doubt.store(in_doubt, Ordering::Release);
    line.set_state(LineState::Away);
}

/// Clears a slot, or raises its stamp if its event is kept.
fn settle_slot<E: Event>(view: RingView<E>, index: i64, finding: Finding) {
    let capacity = view.capacity() as i64;
    let slot = view.stamp(index);
    // the sequence above the floor that belongs in this slot
    let above = finding.floor + 1 + (index - finding.floor - 1).rem_euclid(capacity);
    let stamp = match above <= finding.sound_to {
        true => stamp::published(above + finding.rise()),
        false => 0,
    };
    if slot.load(Ordering::Relaxed) != stamp {
        slot.store(stamp, Ordering::Release);
        point("settle.slot");
    }
}

/// Prepares the producer line before the first publish: from then on nothing that it said of the disk holds,
/// and the ring's order is vouched for `here`. Returns whether this has to be on the disk before the first
/// event. `keeps_floor`: this producer writes each new floor to the disk before it reuses slots.
pub(crate) fn begin(control: &Control, here: Origin, keeps_floor: bool) -> bool {
    let line = &control.producer;
    let said = line.ended.load(Ordering::Relaxed) != 0
        || (line.synced.load(Ordering::Relaxed) != 0 && !keeps_floor);
    line.ended.store(0, Ordering::Relaxed);
    if !keeps_floor {
        line.synced.store(0, Ordering::Relaxed);
    }
    line.doubt_floor.store(0, Ordering::Relaxed);
    line.doubt_tag.store(0, Ordering::Relaxed);
    line.origin.store(here);
    said || keeps_floor
}

/// How many events are in doubt for the consumer of this line, and a sequence that no event has. `None` if
/// the consumer need not be told.
pub(crate) fn untold(line: &ConsumerLine) -> Option<(u64, Sequence)> {
    let events = line
        .in_doubt
        .load(process::Ordering::Acquire)
        .checked_sub(1)?;
    let at = line.doubt_at.load(Ordering::Relaxed);
    Some((events, at.clamp(0, MAX_SEQUENCE)))
}

/// Records that this line's consumer has been told.
pub(crate) fn told(line: &ConsumerLine) {
    line.in_doubt.store(0, Ordering::Release);
}
