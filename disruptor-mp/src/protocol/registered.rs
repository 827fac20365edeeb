//! The registered lines, and what they say about the life of a ring: whether any consumer still needs it (R15).
//! Reads the lines and writes nothing. No hot call comes here: a producer does when its gate has run out.

use super::doubt;
use crate::Sequence;
use crate::layout::control::{
    ConsumerLine, Control, KEPT_UNTIL_DRAINED, LineState, NOT_KEPT, OPEN,
};
use crate::sync::Ordering;

/// The registered lines, and their indices.
#[inline]
pub(crate) fn registered_at(control: &Control) -> impl Iterator<Item = (usize, &ConsumerLine)> {
    control
        .maybe_registered()
        .map(|index| (index, &control.consumers[index]))
        .filter(|(_, line)| line.state().is_registered())
}

/// The registered lines.
#[inline]
pub(crate) fn registered(control: &Control) -> impl Iterator<Item = &ConsumerLine> {
    registered_at(control).map(|(_, line)| line)
}

/// The smallest released sequence.
#[inline]
pub(crate) fn smallest(control: &Control) -> Option<Sequence> {
    registered(control)
        // SYNC POINT release: pairs with the Release store in `ConsumerCore::commit`.
        .map(|line| line.sequence.load(Ordering::Acquire))
        .min()
}

/// The registered consumer that is furthest behind, and its line's index.
pub(crate) fn furthest_behind(control: &Control) -> Option<(usize, &ConsumerLine)> {
    registered_at(control).min_by_key(|(_, line)| line.sequence.load(Ordering::Acquire))
}

/// Whether a durable consumer, attached or away, has unread events of a closed ring, or has yet to be told of
/// a doubt.
pub(crate) fn is_needed(control: &Control) -> bool {
    let last = control.producer.closed.load(Ordering::Acquire);
    registered(control).any(|line| is_needed_by(line, last))
}

/// Whether the ring was closed, nothing keeps its name, and no durable consumer has unread events. `has_drained`: the
/// caller is a consumer that has released every event.
pub(crate) fn is_drained(control: &Control, has_drained: bool) -> bool {
    let is_closed = control.producer.closed.load(Ordering::Acquire) != OPEN;
    let is_kept = match control.producer.kept.load(Ordering::Relaxed) {
        NOT_KEPT => false,
        KEPT_UNTIL_DRAINED => !has_drained && !has_anybody_drained(control),
        _ => true,
    };
    is_closed && !is_kept && !is_needed(control)
}

/// Whether a consumer that has come under the present producer has released every event. A consumer that has
/// left counts, too: its line still holds its sequence. If that consumer found the producer's lock taken, the
/// lock's holder sees this here.
fn has_anybody_drained(control: &Control) -> bool {
    let last = control.producer.closed.load(Ordering::Acquire);
    let epoch = control.producer.epoch.load(Ordering::Relaxed);
    let mut lines = control.consumers.iter();
    lines.any(|line| line.has_come(epoch, |_| line.sequence.load(Ordering::Acquire) >= last))
}

/// The ids of durable consumers with unread events of a closed ring, and of expected consumers that have not come.
pub(crate) fn kept_for(control: &Control) -> Vec<String> {
    let last = control.producer.closed.load(Ordering::Acquire);
    let is_any_awaited = control.producer.kept.load(Ordering::Relaxed) == KEPT_UNTIL_DRAINED
        && !has_anybody_drained(control);
    let any = is_any_awaited.then(|| String::from("any consumer"));
    let lines = registered(control).filter(|line| is_needed_by(line, last));
    lines.map(|line| line.id().text()).chain(any).collect()
}

/// Whether this is the line of a durable consumer that has not released the event `last`, or has yet to be
/// told of a doubt.
fn is_needed_by(line: &ConsumerLine, last: Sequence) -> bool {
    let has_position = matches!(line.state(), LineState::Active | LineState::Away);
    let has_unread = || line.sequence.load(Ordering::Acquire) < last;
    has_position && line.is_durable() && (has_unread() || doubt::untold(line).is_some())
}
