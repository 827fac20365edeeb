//! Threads on rings in shared memory and in mapped files: each endpoint has its own mappings, as a process would have.
#![cfg(not(miri))]

#[path = "threads/mapped.rs"]
mod mapped;
#[macro_use]
mod threads;

mod shared_memory {
    use super::{mapped::InSharedMemory, threads};

    scenarios!(InSharedMemory);
}

mod mapped_file {
    use super::{mapped::InFile, threads};

    scenarios!(InFile);
}
