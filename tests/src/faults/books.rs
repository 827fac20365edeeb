//! The record of what a scenario was told. It lies in a mapped file, which outlives the process, and writing to
//! it takes no system call.
//!
//! Only the scenario's process writes, before and after each of its calls. The clean process reads afterwards.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use myelon::{MyelonTransportConfig, RunnerMyelonTransportConfig};

/// The event of this sequence, the same for every publisher.
pub fn value(sequence: i64) -> u64 {
    (sequence as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 7
}

/// The session of this name, with one worker.
pub fn session(name: &str) -> RunnerMyelonTransportConfig {
    let rings = MyelonTransportConfig::default()
        .with_rpc_depth(16)
        .with_response_depth(16)
        .with_start_timeout(Duration::from_secs(2))
        .with_liveness_interval(Duration::from_millis(10));
    RunnerMyelonTransportConfig::new(name, 1).with_transport(rings)
}

/// The words of the books' file.
#[derive(Debug, Default)]
#[repr(C)]
struct Words {
    is_created: AtomicI64,
    is_attached: AtomicI64,
    ends: AtomicI64,
    gave_up: AtomicI64,
    intended: AtomicI64,
    published: AtomicI64,
    reads: AtomicI64,
    has_read: AtomicI64,
}

/// The record that one scenario keeps.
#[derive(Clone, Copy, Debug)]
pub struct Books(&'static Words);

impl Books {
    /// Opens the books in the file at `path`, or creates them.
    pub fn open(path: &Path) -> Self {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .expect("the books");
        file.set_len(size_of::<Words>() as u64).expect("the books");
        let mapping = memmap2::MmapRaw::map_raw(&file).expect("the books are mapped");
        let words = mapping.as_mut_ptr().cast::<Words>();
        // the mapping stays for the life of the process
        std::mem::forget(mapping);
        // SAFETY: the mapping is never removed, starts at a page boundary and is long enough; atomics may have
        // any bytes.
        Self(unsafe { &*words })
    }

    /// The ring exists.
    pub fn created(&self) {
        self.0.is_created.store(1, Ordering::Release);
    }

    /// The durable consumer has a position, which the ring keeps.
    pub fn attached_at(&self, next: i64) {
        self.0.reads.store(next, Ordering::Release);
        self.0.has_read.store(next, Ordering::Release);
        self.0.is_attached.store(1, Ordering::Release);
    }

    /// The ring, or the consumer's position, is about to be given up.
    pub fn ends(&self) {
        self.0.ends.store(1, Ordering::Release);
    }

    /// The scenario ended with an error. Its handles were dropped, which closes the ring and keeps the durable
    /// consumer's unread events.
    pub fn gave_up(&self) {
        self.0.gave_up.store(1, Ordering::Release);
    }

    /// Every event before `next` is about to be published; those that are not published yet are published by one call.
    pub fn intends_up_to(&self, next: i64) {
        self.0.intended.store(next, Ordering::Release);
    }

    /// The call that published everything before `next` has returned.
    pub fn published_up_to(&self, next: i64) {
        self.0.published.store(next, Ordering::Release);
    }

    /// Everything before `next` is about to be released.
    pub fn reads_up_to(&self, next: i64) {
        self.0.reads.store(next, Ordering::Release);
    }

    /// Everything before `next` has been released.
    pub fn has_read_up_to(&self, next: i64) {
        self.0.has_read.store(next, Ordering::Release);
    }

    /// Whether the state that a clean process finds is allowed: its producer is about to publish `first`, and
    /// the durable consumer is about to read `next`.
    ///
    /// # Errors
    ///
    /// A description of the fault.
    pub fn judge(&self, first: i64, next: i64) -> Result<(), String> {
        if first == 0 && self.may_be_gone() {
            return Ok(());
        }
        self.judge_published(first)?;
        self.judge_read(next, first)
    }

    /// Like [`judge`](Self::judge), for the messages that a durable consumer still had to read.
    ///
    /// # Errors
    ///
    /// A description of the fault.
    pub fn judge_messages(&self, seen: &[i64]) -> Result<(), String> {
        if seen.windows(2).any(|pair| pair[0] + 1 != pair[1]) {
            return Err(format!("the messages {seen:?} came"));
        }
        if self.0.ends.load(Ordering::Acquire) != 0 || seen.is_empty() && self.may_be_gone() {
            return Ok(());
        }
        let (from, to) = match seen {
            [] => {
                let published = self.0.published.load(Ordering::Acquire);
                (published, published)
            }
            [first, .., last] => (*first, last + 1),
            [only] => (*only, only + 1),
        };
        self.judge_published(to)?;
        self.judge_read(from, to)
    }

    /// Whether the ring may have been closed with nothing unread in it.
    fn may_be_gone(&self) -> bool {
        let word = |word: &AtomicI64| word.load(Ordering::Acquire);
        let unread = word(&self.0.published) - word(&self.0.reads).max(word(&self.0.has_read));
        let is_kept = word(&self.0.is_attached) != 0 && unread > 0;
        word(&self.0.ends) != 0 || word(&self.0.gave_up) != 0 && !is_kept
    }

    fn judge_published(&self, first: i64) -> Result<(), String> {
        let [published, intended] =
            [&self.0.published, &self.0.intended].map(|word| word.load(Ordering::Acquire));
        match first == published || first == intended.max(published) {
            true => Ok(()),
            false => Err(format!(
                "{first} is published next; everything before {published} was, before {intended} perhaps"
            )),
        }
    }

    fn judge_read(&self, next: i64, first: i64) -> Result<(), String> {
        let is_kept = self.0.is_attached.load(Ordering::Acquire) != 0
            && self.0.ends.load(Ordering::Acquire) == 0;
        let [has_read, reads] =
            [&self.0.has_read, &self.0.reads].map(|word| word.load(Ordering::Acquire));
        let may_be = if is_kept {
            has_read..=reads.max(has_read)
        } else {
            0..=first
        };
        match may_be.contains(&next) {
            true => Ok(()),
            false => Err(format!(
                "the durable consumer reads {next} next, which is not in {may_be:?}"
            )),
        }
    }
}
