//! Rings that threads share by a reference.

use disruptor_mp::{DisruptorBuilder, Heap, HeapRing};

use crate::threads::{Sample, Site};

/// A ring on the heap, which its endpoints keep.
pub(crate) struct OnHeap<E: Sample>(HeapRing<E>);

impl<E: Sample> Site for OnHeap<E> {
    type Event = E;
    type Backing = Heap;

    fn new(capacity: usize) -> Self {
        Self(HeapRing::new(capacity).unwrap())
    }

    fn endpoint(&self) -> DisruptorBuilder<E, Heap> {
        self.0.builder()
    }
}
