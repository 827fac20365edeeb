use disruptor_mp::Event;

#[derive(Clone, Copy, Event)]
#[repr(C, align(64))]
struct Line(u64);

fn main() {}
