//! An event must not outlive its lease, nor a lease its consumer's next call.

use disruptor_mp::HeapRing;

fn main() {
    let ring = HeapRing::<u64>::new(8).unwrap();
    let mut rx = ring.consumer("reader").unwrap();
    let first = rx.try_consume_next_leased().unwrap();
    let second = rx.try_consume_next_leased().unwrap();
    println!("{} {}", *first, *second);
}
