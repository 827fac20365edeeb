use disruptor_mp::Event;

#[derive(Event)]
#[repr(C)]
struct Tick {
    price: i64,
}

fn main() {}
