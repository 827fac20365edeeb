//! Placeholder.

pub use disruptor_mp::*;
