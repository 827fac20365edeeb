//! An event that is kept for later would be read after it was released.

use disruptor_mp::HeapRing;

fn main() {
    let ring = HeapRing::<u64>::new(8).unwrap();
    let mut rx = ring.consumer("reader").unwrap();
    let mut kept = Vec::new();
    rx.process_available(|event, _| kept.push(event));
    println!("{}", kept[0]);
}
