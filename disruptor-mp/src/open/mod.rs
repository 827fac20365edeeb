//! How a program comes by its handles: the simple calls, the builder, and where a ring lies.

pub(crate) mod backing;
pub(crate) mod builder;
pub(crate) mod simple;
#[cfg(not(loom))]
pub(crate) mod untyped;
