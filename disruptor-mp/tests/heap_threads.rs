//! Threads on a ring on the heap: under the memory model of the machine, or of Miri, which runs the same with
//! fewer events.

#[path = "threads/heap.rs"]
mod heap;
#[macro_use]
mod threads;

use heap::OnHeap;

scenarios!(OnHeap);
