use disruptor_mp::Event;

#[derive(Clone, Copy, Event)]
#[repr(C, packed)]
struct Plain {
    side: u8,
    price: i64,
}

#[derive(Clone, Copy, Event)]
#[repr(C, packed(4))]
struct ByFour {
    qty: u32,
    price: i64,
}

fn main() {}
