//! The events of fuzzed rings: one for each shape of slot.

use disruptor_mp::Event;

use crate::Record;

/// An event that is made from a number.
pub trait Sample: Event + Default {
    /// The event of this number.
    fn of(number: u64) -> Self;
}

/// An event whose slots share cache lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Event)]
#[repr(C)]
#[event(packed_slots)]
pub struct Packed(u64);

/// An event with cache lines of its own, in slots that begin with the stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Event)]
#[repr(C)]
pub struct Wide([u64; 40]);

impl Default for Wide {
    fn default() -> Self {
        Self([0; 40])
    }
}

impl Sample for u64 {
    fn of(number: u64) -> Self {
        number
    }
}

impl Sample for Packed {
    fn of(number: u64) -> Self {
        Self(number)
    }
}

impl Sample for Wide {
    fn of(number: u64) -> Self {
        Self([number; 40])
    }
}

impl Sample for Record {
    fn of(number: u64) -> Self {
        Record::of(number as i64)
    }
}
