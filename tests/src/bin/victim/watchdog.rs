//! Ends the process when a call does not end, and reports that call.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use myelon_tests::fuzz::Call;

/// Many times longer than any call may wait, because other programs load the machine.
const PATIENCE: Duration = Duration::from_secs(20);
const INTERVAL: Duration = Duration::from_millis(100);

static RUNNING: Mutex<Option<(Instant, Call)>> = Mutex::new(None);

/// Starts to watch.
pub(crate) fn start() {
    let patience = match std::env::var("MYELON_FUZZ_PATIENCE_MS") {
        Ok(text) => Duration::from_millis(text.parse().expect("a number of milliseconds")),
        Err(_) => PATIENCE,
    };
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(INTERVAL);
            let running = *RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((since, call)) = running
                && since.elapsed() > patience
            {
                eprintln!("no end after {patience:?}: {call:?}");
                std::process::abort();
            }
        }
    });
}

/// A call begins.
pub(crate) fn begin(call: Call) {
    set(Some((Instant::now(), call)));
}

/// The call has ended.
pub(crate) fn end() {
    set(None);
}

fn set(running: Option<(Instant, Call)>) {
    *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = running;
}
