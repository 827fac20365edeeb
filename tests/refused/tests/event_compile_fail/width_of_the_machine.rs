use disruptor_mp::Event;

#[derive(Clone, Copy, Event)]
#[repr(C)]
struct Sizes {
    len: usize,
    shift: isize,
}

fn main() {}
