//! Tests that end, whatever the code under test does.

use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Runs `body` on a thread of its own. If `body` panics, this panics with the same panic. If it has not ended
/// within `limit`, its thread is left running and this panics, which fails the test; the thread ends with the
/// process.
pub(crate) fn within(limit: Duration, body: impl FnOnce() + Send + 'static) {
    let (ends, ended) = channel::<()>();
    let running = thread::spawn(move || {
        // dropped when the body returns or panics
        let _ends = ends;
        body();
    });
    if ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
        panic!("no end after {limit:?}: a call that was to return still waits, or goes on");
    }
    if let Err(thrown) = running.join() {
        resume_unwind(thrown);
    }
}
