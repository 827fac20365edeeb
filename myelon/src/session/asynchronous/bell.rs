//! A bell: a ring on the heap, by which tasks wake a thread that waits for it and for other rings.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use disruptor_mp::{Consumer, Heap, HeapRing, Producer};

/// The end that tasks have. In a forked child it is silent: the thread is not there.
#[derive(Debug)]
pub(super) struct Bell {
    ring: Mutex<Producer<u64, Heap>>,
    process: u32,
}

impl Bell {
    /// A bell, and the end that its thread has. A wait for several rings checks liveness at the shortest of their
    /// intervals, so the thread's end has the interval of the rings beside it.
    pub(super) fn new(interval: Duration) -> io::Result<(Self, Consumer<u64, Heap>)> {
        let ring = HeapRing::<u64>::new(1).map_err(io::Error::other)?;
        let bell = ring.producer().map_err(io::Error::other)?;
        let heard = ring
            .builder()
            .with_consumer_id("thread")
            .with_liveness_interval(interval)
            .build_consumer()
            .map_err(io::Error::other)?;
        let bell = Self {
            ring: Mutex::new(bell),
            process: std::process::id(),
        };
        Ok((bell, heard))
    }

    /// Whether this is a forked child: it has no such thread, and a thread of its parent may have left any lock locked.
    pub(super) fn is_forked(&self) -> bool {
        self.process != std::process::id()
    }

    pub(super) fn ring(&self) {
        if self.is_forked() {
            return;
        }
        let mut bell = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        // one that is full has rung
        let _ = bell.try_publish(|_| ());
    }
}

/// Consumes all wake-ups so far. The caller takes its orders after this call, not before it, so that none is missed.
pub(super) fn silence(heard: &mut Consumer<u64, Heap>) {
    while heard.try_consume_next().is_some() {}
}
