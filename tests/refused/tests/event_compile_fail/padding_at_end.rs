use disruptor_mp::Event;

#[derive(Clone, Copy, Event)]
#[repr(C)]
struct Tick {
    price: i64,
    qty: u32,
}

fn main() {}
