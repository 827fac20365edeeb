use disruptor_mp::Event;

#[derive(Clone, Copy, Event)]
#[repr(C)]
struct Unit;

#[derive(Clone, Copy, Event)]
#[repr(C)]
struct Empty {}

#[derive(Clone, Copy, Event)]
#[repr(C)]
struct Hollow {
    none: [u64; 0],
}

fn main() {}
