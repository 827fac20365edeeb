//! The facts that a simulation must respect, kept beside the ring: every attempt to write a sequence, every
//! acknowledgement, and the position of every durable consumer.
//!
//! An event is fixed as soon as it was acknowledged or seen: every consumer that reads its sequence must see
//! exactly this event, and no producer may write the sequence again. The functions here take no step of the
//! simulation, so that an entry and the call before it are one step.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use disruptor_mp::{Sequence, dst};

use super::payload::Payload;

pub(super) struct Ledger {
    first: Sequence,
    pages: Mutex<Pages>,
}

struct Pages {
    next_tag: u64,
    /// The tag of the last attempt at each sequence.
    attempts: BTreeMap<Sequence, u64>,
    fixed: BTreeMap<Sequence, u64>,
    acknowledged: Sequence,
    has_target: bool,
    /// How many producers there have been.
    terms: u32,
    is_over: bool,
    /// Durable consumers by id.
    positions: BTreeMap<String, Position>,
    /// How many calls that make the ring forget a consumer have begun and not returned, by its id. The caller may have
    /// died in the call.
    forgetting: BTreeMap<String, u32>,
    /// An id that is expected and that no consumer has had yet.
    awaited: Option<String>,
    /// The lives of producers that have begun to take over and not finished.
    taking_over: Vec<String>,
}

/// A durable consumer's position, as far as its own calls have reported it.
#[derive(Clone, Copy)]
struct Position {
    released: Sequence,
    seen: Sequence,
    has_ended_well: bool,
}

impl Ledger {
    pub(super) fn new(first: Sequence) -> Self {
        Self {
            first,
            pages: Mutex::new(Pages {
                next_tag: 1,
                attempts: BTreeMap::new(),
                fixed: BTreeMap::new(),
                acknowledged: first - 1,
                has_target: false,
                terms: 0,
                is_over: false,
                positions: BTreeMap::new(),
                forgetting: BTreeMap::new(),
                awaited: None,
                taking_over: Vec::new(),
            }),
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A producer is about to write `sequence`. Returns the tag of this attempt.
    pub(super) fn attempt(&self, sequence: Sequence) -> u64 {
        let mut pages = self.pages();
        assert!(
            !pages.fixed.contains_key(&sequence),
            "{sequence} was published and is written again"
        );
        let tag = pages.next_tag;
        pages.next_tag += 1;
        pages.attempts.insert(sequence, tag);
        tag
    }

    /// A call has reported that these sequences were published.
    pub(super) fn acknowledge(&self, first: Sequence, last: Sequence) {
        let mut pages = self.pages();
        assert_eq!(first, pages.acknowledged + 1, "not the next sequence");
        pages.fix_up_to(last);
        dst::note(format_args!("published {last}"));
    }

    /// `who` read this event at `sequence`.
    pub(super) fn saw(&self, who: &str, sequence: Sequence, event: &impl Payload) {
        let Some((written, tag)) = event.read() else {
            panic!("{who} read a torn event at {sequence}");
        };
        assert_eq!(written, sequence, "{who} read an event of another lap");
        let mut pages = self.pages();
        let attempt = pages.attempts.get(&sequence).copied();
        assert_eq!(
            Some(tag),
            attempt,
            "{who} read what nobody published at {sequence}"
        );
        let fixed = *pages.fixed.entry(sequence).or_insert(tag);
        assert_eq!(
            tag, fixed,
            "{who} read another event at {sequence} than others"
        );
        dst::note(format_args!("saw {sequence}"));
    }

    /// `who` begins to take the ring over.
    pub(super) fn begins_to_take_over(&self, who: &str) {
        self.pages().taking_over.push(who.to_owned());
    }

    /// `who` was refused, because there is another producer.
    pub(super) fn was_refused(&self, who: &str) {
        self.pages().taking_over.retain(|other| other != who);
    }

    /// `who` has taken over, and continues after `last`. `before` is the life of the same producer before this
    /// one. Returns the number of the new term.
    pub(super) fn took_over(&self, who: &str, before: &str, last: Sequence) -> u32 {
        let mut pages = self.pages();
        if pages.taking_over.iter().any(|other| other == before) {
            dst::reached("a producer died while it took over");
        }
        pages
            .taking_over
            .retain(|other| other != who && other != before);
        pages.is_over = false;
        pages.terms += 1;
        let acknowledged = pages.acknowledged;
        assert!(
            last >= acknowledged,
            "{acknowledged} was acknowledged, the successor found {last}"
        );
        let seen = pages.fixed.keys().next_back().copied().unwrap_or(last);
        assert!(last >= seen, "{seen} was seen, the successor found {last}");
        let begun = pages.attempts.keys().next_back().copied().unwrap_or(last);
        assert!(
            last <= begun.max(self.first - 1),
            "nobody has written {last}"
        );
        if last > acknowledged {
            dst::reached("a successor found events that nobody had acknowledged");
        }
        if last < begun {
            dst::reached("a successor found less than was begun");
        }
        pages.fix_up_to(last);
        dst::note(format_args!("goes on after {last}"));
        pages.terms
    }

    /// Every sequence up to the target has been published.
    pub(super) fn reaches_target(&self) {
        self.pages().has_target = true;
    }

    /// The producer of this term has closed the ring after that. Another producer may have opened it since.
    pub(super) fn is_closed(&self, term: u32) {
        let mut pages = self.pages();
        pages.is_over |= pages.terms == term;
    }

    /// Whether the ring stays closed. It does not if `before`, which has died, may have opened it again.
    pub(super) fn is_over(&self, before: &str) -> bool {
        let pages = self.pages();
        pages.is_over && pages.taking_over.iter().all(|other| other != before)
    }

    /// Whether no event will come after `sequence`.
    pub(super) fn is_last(&self, sequence: Sequence) -> bool {
        let pages = self.pages();
        pages.has_target && pages.acknowledged == sequence
    }

    /// `id` is announced to every producer, so that it starts at the first event whenever it attaches.
    pub(super) fn await_consumer(&self, id: &str) {
        self.pages().awaited = Some(id.to_owned());
    }

    /// The durable consumer `id` has attached, and `next` is the first event it will read.
    pub(super) fn attached(&self, id: &str, next: Sequence, window: i64) {
        let mut pages = self.pages();
        let begun = pages
            .attempts
            .keys()
            .next_back()
            .copied()
            .unwrap_or(next - 1);
        assert!(
            (self.first..=begun + 1).contains(&next),
            "{id} starts at {next}"
        );
        let is_forgotten = pages.forgetting.get(id).is_some_and(|count| *count > 0);
        if pages.awaited.as_deref() == Some(id) && !is_forgotten {
            assert_eq!(next, self.first, "{id} was awaited");
            if pages.acknowledged >= self.first {
                dst::reached("a late consumer was waited for");
            }
        }
        pages.awaited = pages.awaited.take().filter(|awaited| awaited != id);
        if let (Some(at), false) = (pages.positions.get(id), is_forgotten) {
            at.check(id, next, window);
        }
        let position = Position {
            released: next - 1,
            seen: next - 1,
            has_ended_well: false,
        };
        pages.positions.insert(id.to_owned(), position);
        dst::note(format_args!("starts at {next}"));
    }

    /// The durable consumer `id` has seen every event up to `sequence`.
    pub(super) fn sees(&self, id: &str, sequence: Sequence) {
        if let Some(position) = self.pages().positions.get_mut(id) {
            position.seen = sequence;
        }
    }

    /// A call of the durable consumer `id` has released every event up to `sequence`.
    pub(super) fn released(&self, id: &str, sequence: Sequence) {
        if let Some(position) = self.pages().positions.get_mut(id) {
            position.released = sequence;
        }
    }

    /// The durable consumer `id` has detached without a death.
    pub(super) fn detached(&self, id: &str) {
        if let Some(position) = self.pages().positions.get_mut(id) {
            position.has_ended_well = true;
        }
    }

    /// A call begins that makes the ring forget the durable consumer `id`: its removal, or its own leave.
    pub(super) fn begins_to_forget(&self, id: &str) {
        *self.pages().forgetting.entry(id.to_owned()).or_default() += 1;
    }

    /// That call has returned: the consumer was forgotten, or nothing was done to it.
    pub(super) fn ends_forgetting(&self, id: &str, is_forgotten: bool) {
        let mut pages = self.pages();
        *pages.forgetting.entry(id.to_owned()).or_default() -= 1;
        if is_forgotten {
            pages.positions.remove(id);
            pages.awaited = pages.awaited.take().filter(|awaited| awaited != id);
        }
    }
}

impl Pages {
    fn fix_up_to(&mut self, last: Sequence) {
        for sequence in self.acknowledged + 1..=last {
            let tag = *self.attempts.get(&sequence).expect("it was begun");
            let fixed = *self.fixed.entry(sequence).or_insert(tag);
            assert_eq!(
                fixed, tag,
                "{sequence} was seen otherwise than it was acknowledged"
            );
        }
        self.acknowledged = self.acknowledged.max(last);
    }
}

impl Position {
    /// Asserts that a consumer that comes back continues where it was, or sees at most the last `window` events
    /// again if it died.
    fn check(&self, id: &str, next: Sequence, window: i64) {
        let Self {
            released,
            seen,
            has_ended_well,
        } = *self;
        assert!(
            (released + 1..=seen + 1).contains(&next) && seen + 1 - next <= window,
            "{id} released {released}, has seen {seen}, and comes back to {next}"
        );
        if has_ended_well {
            dst::reached("a consumer came back after a good end");
        } else {
            dst::reached("a consumer came back after a death");
        }
        if next <= seen {
            dst::reached("a consumer came back to an event that it had seen");
        }
    }
}
