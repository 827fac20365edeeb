//! The README's consumer, unchanged.

include!(concat!(env!("OUT_DIR"), "/readme_consumer.rs"));
