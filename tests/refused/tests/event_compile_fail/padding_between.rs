use disruptor_mp::Event;

#[derive(Clone, Copy, Event)]
#[repr(C)]
struct Tick {
    side: u8,
    qty: u32,
    venue: u16,
    price: i64,
}

fn main() {}
