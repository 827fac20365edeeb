//! The program swallows the derive's errors: the refused struct is still no event.

#![forbid(unsafe_code)]
#![allow(dead_code)]

extern crate self as core;

macro_rules! say_nothing {
    ($($anything:tt)*) => {
        /// Found before the crate that the derive was told of.
        mod rings {
            pub mod __event {
                pub struct Field<S>(S);

                impl<S> Field<S> {
                    pub const fn layout_id(_: &str) -> u64 {
                        7
                    }
                }
            }
        }
    };
}
pub(crate) use say_nothing as compile_error;

use disruptor_mp as rings;
use disruptor_mp::Event;

#[derive(Clone, Copy, Event)]
#[repr(C)]
struct Flag {
    set: bool,
}

#[derive(Clone, Copy, Event)]
#[repr(C)]
#[event(crate = rings)]
struct Shadowed {
    set: bool,
}

#[derive(Clone, Copy, Event)]
struct Loose<T> {
    value: T,
}

const GENERIC: u64 = Loose::<u64>::LAYOUT_ID;

fn main() {
    assert_ne!(GENERIC, 0);
}
