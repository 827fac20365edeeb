//! Signals that end the program.

use std::ffi::c_int;
use std::io;
use std::mem::zeroed;
use std::ptr::null;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

/// The signals by which a user, a terminal or a service manager ends a program.
pub(crate) const ENDINGS: [c_int; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// Whether the program was started to ignore this signal, as `nohup` does with SIGHUP. It then goes on to ignore it.
pub(crate) fn is_ignored(signal: c_int) -> bool {
    // SAFETY: the action is a struct of numbers and of a pointer that may be null.
    let mut action: libc::sigaction = unsafe { zeroed() };
    // SAFETY: without a new action, the call writes the present one to `action` and changes nothing.
    let result = unsafe { libc::sigaction(signal, null(), &raw mut action) };
    result == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// Whether one of these signals has come: a program that asks ends in order. A second signal ends it at once.
#[derive(Clone, Debug)]
pub(crate) struct Ending(Arc<AtomicBool>);

impl Ending {
    pub(crate) fn register() -> io::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in ENDINGS.into_iter().filter(|signal| !is_ignored(*signal)) {
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
