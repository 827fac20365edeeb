//! A list of fields written by hand makes no event: that needs an implementation, which is unsafe.

#![forbid(unsafe_code)]

use disruptor_mp::__event::Field;
use disruptor_mp::Event;

#[derive(Clone, Copy)]
#[repr(C)]
struct Flag {
    set: bool,
}

const LIST: &[Field<Flag>] = &[Field::of(|_: &Flag| (&0_u8,), "set", 0)];

impl Event for Flag {
    const LAYOUT_ID: u64 = 7;
    const __FIELDS: &'static [Field<Self>] = LIST;

    fn describe_layout(_: &mut dyn core::fmt::Write) -> core::fmt::Result {
        Ok(())
    }
}

const ID: u64 = Field::<Flag>::layout_id("Flag");

fn main() {
    assert_ne!(ID, 0);
}
