use disruptor_mp::Event;

#[derive(Clone, Copy, Event)]
#[repr(C)]
struct Borrowed<'a> {
    text: &'a str,
}

fn main() {}
