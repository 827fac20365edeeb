//! What this machine can do without any library: nothing above it can be faster, so every figure is shown beside it.

pub(crate) mod bounce;
pub(crate) mod memory;
pub(crate) mod stream;
