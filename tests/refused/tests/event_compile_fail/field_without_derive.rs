use disruptor_mp::Event;

#[derive(Clone, Copy)]
#[repr(C)]
struct Inner {
    qty: u32,
}

#[derive(Clone, Copy, Event)]
#[repr(C)]
struct Outer {
    inner: Inner,
    maybe: Option<u32>,
    count: core::num::NonZeroU32,
}

fn main() {}
