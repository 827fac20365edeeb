//! Rings that threads share by reference.

use disruptor_mp::{DisruptorBuilder, Heap, HeapRing};

use crate::threads::{Sample, Site};

/// A ring on the heap, which lives as long as its endpoints.
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
