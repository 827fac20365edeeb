//! Counters: what an endpoint has done, readable by others while it runs.
//!
//! A [`CountersFile`] is a mapped file (or a table on the heap) of [`COUNTERS_FILE_SLOTS`] slots. Each slot is one
//! counter: an id, a value and a label of up to 48 bytes. Whoever opens the file sees all of them with
//! [`snapshot`](CountersFile::snapshot), also those of processes that have died since.
//!
//! ```
//! use disruptor_mp::HeapRing;
//! use disruptor_mp::observability::{CounterId, CountersFile};
//!
//! let file = CountersFile::anonymous(); // or CountersFile::create("/dev/shm/ticks.counters")?
//! let ring = HeapRing::<u64>::new(8)?;
//! let (mut tx, mut rx) = (ring.producer()?, ring.consumer("risk")?);
//! tx.attach_counters(&file)?;
//! let orders = file.counter(CounterId::application(0), "orders sent")?;
//!
//! tx.publish(|event| *event = 7);
//! orders.add(1);
//! tx.counters(); // brings the file up to date
//!
//! let all = file.snapshot();
//! let value = |id: CounterId| all.iter().find(|counter| counter.id == id).map(|counter| counter.value);
//! assert_eq!(value(CounterId::EVENTS_PUBLISHED), Some(1));
//! assert_eq!(value(CounterId::application(0)), Some(1));
//! # assert_eq!(rx.try_consume_next(), Some((0, 7)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Who writes, and what it costs
//!
//! A counter has one writer, which stores with a plain load and a plain store: no locked instruction. Claiming a slot
//! takes a byte lock on the file, so that the kernel knows whose it is. When its owner goes, the slot is free; when its
//! owner dies the last value stays readable until somebody needs the slot, or calls [`sweep`](CountersFile::sweep). A
//! [`CounterHandle`] keeps its mapping alive, and in a forked child it does nothing.
//!
//! # How fresh an endpoint's counters are
//!
//! Publishing and consuming without a wait counts nothing: events and bytes follow from the sequence, and the rest
//! happens only in waits. An endpoint brings its slots up to date
//!
//! * a producer: whenever it looks for space anew (its private gate has run out: once per ring's worth at the latest),
//!   about every 10 ms while it waits, and when it ends;
//! * a consumer: whenever it begins to wait for an event, about every 10 ms while it waits, and when it detaches;
//! * both: in `attach_counters` and in `counters()`.
//!
//! So a consumer that only ever calls the `try_` forms, or that never catches up, calls `counters()` now and then if
//! somebody is to see it move. [`CounterId::CONSUMER_LAG_MAX`] is a sample: it is taken in `counters()` and on detach.
//!
//! # The ids
//!
//! [`COUNTERS`] lists those that this family gives out; a program's own begin at [`APPLICATION_IDS_FROM`].
//!
//! # Dashboards
//!
//! With the feature `metrics` a snapshot becomes text that Prometheus scrapes (`prometheus_text`), with `opentelemetry` a
//! meter's instruments report one whenever they are collected (`register_instruments`). Both read what endpoints have
//! written anyhow: they may run in another process, and cost the rings nothing.

mod endpoint;
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

pub(crate) use endpoint::{ConsumerCounters, ProducerCounters};
