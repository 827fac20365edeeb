use disruptor_mp::Event;

#[derive(Clone, Copy, Event)]
#[repr(C)]
struct Everything {
    text: &'static str,
    constant: *const u8,
    mutable: [*mut u8; 2],
    function: fn(u32) -> u32,
    external: extern "C" fn(),
    object: &'static dyn Fn(),
}

fn main() {}
