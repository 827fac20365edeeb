use disruptor_mp::Event;

#[derive(Clone, Copy, Event)]
#[repr(align(8))]
struct Tick {
    price: i64,
}

fn main() {}
