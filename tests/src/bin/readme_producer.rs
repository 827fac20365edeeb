//! The README's producer, unchanged.

include!(concat!(env!("OUT_DIR"), "/readme_producer.rs"));
