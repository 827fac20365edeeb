//! Counters: what an endpoint has done, readable by other processes while it runs.
//!
//! A [`CountersFile`] is a mapped file (or a table on the heap) of [`COUNTERS_FILE_SLOTS`] slots. Each slot
//! is one counter: an id, a value and a label of up to 48 bytes. A process that opens the file sees all
//! counters with [`snapshot`](CountersFile::snapshot), including those of processes that have died.
//!
//! ```
//! use disruptor_mp::{Deadline, HeapRing};
//! use disruptor_mp::observability::{CounterId, CountersFile};
//!
//! let file = CountersFile::anonymous(); // or CountersFile::create("/dev/shm/ticks.counters")?
//! let ring = HeapRing::<u64>::new(8)?;
//! let (mut tx, mut rx) = (ring.producer()?, ring.consumer("risk")?);
//! tx.attach_counters(&file)?;
//! let orders = file.counter(CounterId::application(0), "orders sent")?;
//!
//! tx.send(Deadline::NEVER, |event| *event = 7)?;
//! orders.add(1);
//! tx.counters(); // brings the file up to date
//!
//! let all = file.snapshot();
//! let value = |id: CounterId| all.iter().find(|counter| counter.id == id).map(|counter| counter.value);
//! assert_eq!(value(CounterId::EVENTS_PUBLISHED), Some(1));
//! assert_eq!(value(CounterId::application(0)), Some(1));
//! # assert_eq!(rx.recv_owned(Deadline::NEVER)?, (0, 7));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Who writes, and what it costs
//!
//! A counter has one writer, which uses a plain load and a plain store: no locked instruction. Claiming a
//! slot takes a byte lock on the file, so that the kernel knows its owner. An owner that goes frees the slot.
//! When an owner dies, the last value stays readable until the slot is needed, or until
//! [`sweep`](CountersFile::sweep) is called. A [`CounterHandle`] keeps its mapping alive, and in a forked
//! child it does nothing.
//!
//! # How fresh an endpoint's counters are
//!
//! Publishing and consuming without a wait counts nothing: events and bytes follow from the sequence, and
//! everything else happens only in waits. An endpoint brings its slots up to date:
//!
//! * a producer: whenever its private gate has run out and it refreshes the gate (at the latest after as many
//!   events as the ring has slots), at each liveness check while it waits (every 100 ms unless set), and when
//!   it ends;
//! * a consumer: whenever it begins to wait for an event, at each liveness check while it waits, and when it detaches;
//! * both: in `attach_counters` and in `counters()`.
//!
//! So a consumer that uses only the `try_` forms, or that never catches up, must call `counters()` from time
//! to time if its progress is to be visible. [`CounterId::CONSUMER_LAG_MAX`] is a sample, taken in
//! `counters()` and on detach.
//!
//! # The ids
//!
//! [`COUNTERS`] lists the ids of this crate family; a program's own ids begin at [`APPLICATION_IDS_FROM`].
//!
//! # Dashboards
//!
//! With the feature `metrics`, `prometheus_text` turns a snapshot into text that Prometheus can scrape. With
//! the feature `opentelemetry`, `register_instruments` lets a meter's instruments report a snapshot whenever
//! they are collected. Both read only what endpoints have written already: they may run in another process,
//! and cost the rings nothing.

pub(crate) mod endpoint;
mod error;
mod file;
mod ids;
#[cfg(feature = "opentelemetry")]
mod instruments;
#[cfg(feature = "metrics")]
mod metrics;
mod slot;

pub use error::CountersError;
pub use file::{COUNTERS_FILE_SLOTS, CounterHandle, CountersFile};
pub use ids::{APPLICATION_IDS_FROM, COUNTERS, CounterId, CounterInfo};
#[cfg(feature = "opentelemetry")]
pub use instruments::register_instruments;
#[cfg(feature = "metrics")]
pub use metrics::prometheus_text;
pub use slot::{COUNTER_LABEL_BYTES_MAX, CounterSnapshot};

pub(crate) use endpoint::{EndpointCounters, Role};
#[cfg(not(loom))]
pub(crate) use file::{VERSION, version_of};
