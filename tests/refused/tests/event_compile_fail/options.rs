use disruptor_mp::Event;

#[derive(Clone, Copy, Event)]
#[repr(C)]
#[event(packed)]
struct Unknown(u64);

#[derive(Clone, Copy, Event)]
#[repr(C)]
#[event(packed_slots = true)]
struct Valued(u64);

#[derive(Clone, Copy, Event)]
#[repr(C)]
struct OnField(#[event(packed_slots)] u64);

fn main() {}
