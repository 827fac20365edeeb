use disruptor_mp::Event;

#[derive(Clone, Copy, Event)]
#[repr(C)]
struct Inner {
    qty: u32,
    side: u8,
}

#[derive(Clone, Copy, Event)]
#[repr(C)]
struct Outer {
    inner: [Inner; 2],
}

fn main() {}
