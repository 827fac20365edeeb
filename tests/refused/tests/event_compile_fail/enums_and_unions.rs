use disruptor_mp::Event;

#[derive(Clone, Copy, Event)]
#[repr(u8)]
enum Side {
    Buy = 1,
    Sell = 2,
}

#[derive(Clone, Copy, Event)]
#[repr(C)]
union Either {
    byte: u8,
    word: u32,
}

fn main() {}
