use core::cell::Cell;
use core::sync::atomic::AtomicU64;

use disruptor_mp::Event;

#[derive(Event)]
#[repr(C)]
struct Owning {
    list: Vec<u8>,
    cell: Cell<u64>,
    count: AtomicU64,
}

fn main() {}
