//! Drivers of the fuzzers, one for each target. `fuzz/fuzz_targets/` and the tests that replay the corpus share them.
//!
//! A driver makes its segments in a directory of its own, plays every role in turn, and makes the stores that
//! the fuzzer's bytes select. For any bytes, no call may panic, touch memory outside a mapping, wait beyond its
//! deadline, or remove a file that is not the ring's. Errors and wrong values are allowed.

mod arena;
mod calls;
mod codecs;
mod frames;
mod mutation;
mod plant;
mod sample;
mod targets;

pub use calls::{Call, Party, Role};
pub use codecs::is_decoded;
pub use mutation::{Mutation, Ring};
pub use plant::{PLANT, Plant};
pub use sample::{Packed, Sample, Wide};

/// A driver of one target.
pub type Driver = fn(&[u8]);

/// Every fuzz target by its name in `fuzz/fuzz_targets/`.
pub const TARGETS: [(&str, Driver); 10] = [
    ("header", targets::header),
    ("attach_raw", targets::attach_raw),
    ("attach_mutated", targets::attach_mutated),
    ("interleaved", targets::interleaved),
    ("counters_file", targets::counters_file),
    ("frames", frames::frames),
    ("codec_bincode", codecs::bincode),
    ("codec_postcard", codecs::postcard),
    ("codec_rkyv", codecs::rkyv),
    ("codec_flatbuffers", codecs::flatbuffers),
];

/// Runs the target of this name.
///
/// # Panics
///
/// When there is no such target, or a promise is broken.
pub fn run(target: &str, bytes: &[u8]) {
    let found = TARGETS.iter().find(|(name, _)| *name == target);
    found.unwrap_or_else(|| panic!("no target {target}")).1(bytes);
}
