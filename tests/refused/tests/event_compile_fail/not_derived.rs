use disruptor_mp::Event;

#[derive(Clone, Copy)]
#[repr(C)]
struct Tick {
    price: i64,
}

fn publish<E: Event>(_: E) {}

fn forward<T: Copy + Send + Sync + 'static>(event: T) {
    publish(event);
}

fn main() {
    publish(Tick { price: 1 });
    publish(true);
    forward(1_u8);
}
