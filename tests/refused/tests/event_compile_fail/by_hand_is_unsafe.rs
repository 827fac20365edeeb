use core::fmt;

use disruptor_mp::Event;

#[derive(Clone, Copy)]
struct Tick(u64);

impl Event for Tick {
    const LAYOUT_ID: u64 = 1;

    fn describe_layout(out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("Tick")
    }
}

fn main() {}
