//! Signals that end the program: what has to be put right before it ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// The signals by which a user, a terminal or a service manager ends a program.
const ENDINGS: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// From now on, each of these signals runs `restore` before it ends the program as it would have without this call.
pub(crate) fn restore_before_end(restore: impl Fn() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new(ENDINGS)?;
    let watch = move || {
        for signal in signals.forever() {
            restore();
            let _ = emulate_default_handler(signal);
        }
    };
    std::thread::Builder::new().spawn(watch).map(drop)
}

/// Whether one of these signals has come: a program that asks ends in order. A second signal ends it at once.
#[derive(Clone, Debug)]
pub(crate) struct Ending(Arc<AtomicBool>);

impl Ending {
    pub(crate) fn register() -> io::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in ENDINGS {
            // in this order: the first signal finds the flag unset, and sets it
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&flag))?;
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
        }
        Ok(Self(flag))
    }

    pub(crate) fn has_come(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
