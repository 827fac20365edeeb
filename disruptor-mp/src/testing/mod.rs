//! What tests use to steer the code, and what is nothing in an ordinary build: fail points, steps that a negative
//! control leaves out, the simulation of processes, and the models for loom. Every folder may use it.

/// Whether a negative control leaves this step out: a control of the loom models, of a simulation or, with
/// fail points, of a test. In every other build `false`.
#[cfg(not(any(
    all(test, loom),
    all(
        not(loom),
        any(feature = "dst", all(feature = "fail-points", debug_assertions))
    )
)))]
macro_rules! left_out {
    ($step:ident) => {
        false
    };
}
#[cfg(all(
    not(loom),
    any(feature = "dst", all(feature = "fail-points", debug_assertions))
))]
macro_rules! left_out {
    ($step:ident) => {
        crate::testing::fail::is_left_out(stringify!($step))
    };
}
#[cfg(all(test, loom))]
macro_rules! left_out {
    ($step:ident) => {
        crate::testing::loom_tests::is_left_out(crate::testing::loom_tests::Step::$step)
    };
}

/// A step of the protocol, unless a negative control leaves it out.
macro_rules! step {
    ($step:ident, $do:expr) => {
        if !left_out!($step) {
            $do;
        }
    };
}

/// As [`step!`], in code that a signal handler may run: only a control of the loom models leaves it out, as the others
/// take locks.
macro_rules! signal_safe_step {
    ($step:ident, $do:expr) => {
        if !(cfg!(loom) && left_out!($step)) {
            $do;
        }
    };
}

/// `Ordering::Release`, unless a negative control of the loom models weakens it.
#[cfg(not(all(test, loom)))]
macro_rules! release {
    ($step:ident) => {
        crate::sync::Ordering::Release
    };
}
#[cfg(all(test, loom))]
macro_rules! release {
    ($step:ident) => {
        if left_out!($step) {
            crate::sync::Ordering::Relaxed
        } else {
            crate::sync::Ordering::Release
        }
    };
}

#[cfg(all(feature = "dst", not(loom)))]
pub mod dst;
pub(crate) mod fail;
#[cfg(all(test, loom))]
pub(crate) mod loom_tests;
