use disruptor_mp::Event;

#[derive(Clone, Copy, Event)]
#[repr(C)]
struct Bounds {
    range: (u32, u32),
    nothing: (),
}

fn main() {}
