use disruptor_mp::Event;

#[derive(Clone, Copy, Event)]
#[repr(C)]
struct Pair<A, B> {
    first: A,
    second: B,
}

const DENSE: u64 = Pair::<u32, f32>::LAYOUT_ID;
const PADDED: u64 = Pair::<u8, u32>::LAYOUT_ID;

fn main() {
    assert_ne!(DENSE, PADDED);
}
