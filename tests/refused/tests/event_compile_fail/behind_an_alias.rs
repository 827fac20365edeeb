use disruptor_mp::Event;

type Flag = bool;

#[derive(Clone, Copy, Event)]
#[repr(C)]
struct Flags {
    set: Flag,
}

fn main() {}
