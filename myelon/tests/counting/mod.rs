//! An allocator that counts the allocations of each thread, and keeps the size of the largest.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

fn count(size: usize) {
    COUNT.with(|count| count.set(count.get() + 1));
    LARGEST.with(|largest| largest.set(largest.get().max(size)));
}

// SAFETY: every call is passed on to the system's allocator. Counting allocates nothing; its cells need no
// constructor and no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many allocations `work` makes in this thread, and the size of the largest.
pub(crate) fn allocations_of(work: impl FnOnce()) -> (u64, usize) {
    LARGEST.with(|largest| largest.set(0));
    let before = COUNT.with(Cell::get);
    work();
    (COUNT.with(Cell::get) - before, LARGEST.with(Cell::get))
}

#[test]
fn one_allocation_is_counted_with_its_size() {
    let (count, largest) = allocations_of(|| drop(std::hint::black_box(vec![0_u8; 1000])));
    assert_eq!((count, largest), (1, 1000));
}
