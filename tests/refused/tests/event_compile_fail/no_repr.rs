use disruptor_mp::Event;

#[derive(Clone, Copy, Event)]
struct Tick {
    price: i64,
}

fn publish<E: Event>(_: E) {}

fn main() {
    // The compiler reports nothing for this line: the reason above is enough.
    publish(Tick { price: 1 });
}
