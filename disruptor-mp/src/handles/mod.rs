//! What a program holds: the producer, consumers, observers, and what wraps a consumer. Each handle ends what it began
//! when it is dropped; a handle whose process dies leaves the rest to the kernel and to the other parties.

// before the consumer, the last block of whose page is for programs written against 0.1
#[cfg(all(target_os = "linux", not(loom)))]
pub(crate) mod readiness;

#[cfg(all(feature = "tokio", target_os = "linux", not(loom)))]
pub(crate) mod async_consumer;
pub(crate) mod auto;
pub(crate) mod consumer;
pub(crate) mod diagnosis;
pub(crate) mod guards;
pub(crate) mod kinds;
pub(crate) mod observer;
pub(crate) mod producer;
#[cfg(not(loom))]
pub(crate) mod ring_set;
pub(crate) mod start;
