//! What the log of this thread, or of a member's process, says.

use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

struct Message<'a>(&'a mut Vec<String>);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0.push(format!("{value:?}"));
        }
    }
}

impl Subscriber for Heard {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut heard = self.0.lock().expect("no panic");
        event.record(&mut Message(&mut heard));
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The result of `work`, and the messages that it has logged in this thread.
pub(crate) fn while_it<T>(work: impl FnOnce() -> T) -> (T, Vec<String>) {
    let heard = Heard::default();
    let result = tracing::subscriber::with_default(heard.clone(), work);
    let messages = std::mem::take(&mut *heard.0.lock().expect("no panic"));
    (result, messages)
}

/// From now on the messages of all threads are heard, in a process that is a member alone. Returns what takes them.
#[cfg(feature = "tokio")]
pub(crate) fn from_now_on() -> impl Fn() -> Vec<String> {
    let heard = Heard::default();
    tracing::subscriber::set_global_default(heard.clone()).expect("there is no other");
    move || std::mem::take(&mut *heard.0.lock().expect("no panic"))
}
