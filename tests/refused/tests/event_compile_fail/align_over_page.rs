use disruptor_mp::Event;

#[derive(Clone, Copy, Event)]
#[repr(C, align(8192))]
struct Huge {
    bytes: [u8; 8192],
}

fn main() {}
