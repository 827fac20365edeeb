//! A slot that is kept for later would be written after it was published.

use disruptor_mp::HeapRing;

fn main() {
    let ring = HeapRing::<u64>::new(8).unwrap();
    let mut tx = ring.producer().unwrap();
    let mut kept = Vec::new();
    tx.publish_batch(2, |event, _| kept.push(event));
    *kept[0] = 7;
}
