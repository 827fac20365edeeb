use disruptor_mp::Event;

#[derive(Clone, Copy, Event)]
#[repr(C)]
struct Flags {
    set: bool,
    many: [[bool; 4]; 2],
    letter: char,
}

fn main() {}
