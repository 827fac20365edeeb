//! Counters: what an endpoint has done, readable by other processes while it runs.
//!
//! A [`CountersFile`] is a mapped file (or a table on the heap) of [`COUNTERS_FILE_SLOTS`] slots. Each slot
//! is one counter: an id, a value and a label. A process that opens the file sees all counters with
//! [`snapshot`](CountersFile::snapshot), including those of endpoints that have ended and of processes that have died.
//!
//! ```
//! use disruptor_mp::{Deadline, HeapRing};
//! use disruptor_mp::observability::{CounterId, CountersFile};
//!
//! let file = CountersFile::anonymous(); // or CountersFile::create("/dev/shm/ticks.counters")?
//! let ring = HeapRing::<u64>::new(8)?;
//! let (mut tx, mut rx) = (ring.producer()?, ring.consumer("risk")?);
//! tx.attach_counters(&file)?;
//! rx.attach_counters(&file)?;
//! let orders = file.counter(CounterId::application(0), "orders sent")?;
//!
//! tx.send(Deadline::NEVER, |event| *event = 7)?;
//! orders.add(1);
//!
//! let all = file.snapshot(); // also in another process that has opened the file
//! let value = |id: CounterId| all.iter().find(|counter| counter.id == id).map(|counter| counter.value);
//! assert_eq!((value(CounterId::EVENTS_PUBLISHED), value(CounterId::CONSUMER_LAG)), (Some(1), Some(1)));
//! assert_eq!(value(CounterId::application(0)), Some(1));
//! # assert_eq!(rx.recv_owned(Deadline::NEVER)?, (0, 7));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Who writes, and what it costs
//!
//! A counter has one writer, which uses a plain load and a plain store: no locked instruction. Claiming a
//! slot takes a byte lock on the file, so that the kernel knows its owner. When an owner ends or dies, its counters
//! stay readable until another owner takes their slots, the same counter first, or until
//! [`sweep`](CountersFile::sweep) is called; the next section says when the positions of a killed owner go earlier.
//! A [`CounterHandle`] keeps its mapping alive. In a forked child the counters of the parent do nothing and have no
//! value, also those on the heap.
//!
//! # How fresh an endpoint's counters are
//!
//! Positions are true at the moment of each reading, whatever the endpoint is doing: events, bytes, frames published
//! and [`CounterId::CONSUMER_LAG`]. They follow from the ring's own lines and stamps, and publishing and consuming
//! store nothing else. The slot only names the ring and the line. `snapshot` reads them where this process has the ring
//! mapped, and otherwise opens the ring's file, as [`inspect`](crate::inspect) does. It leaves a position out, instead
//! of showing an old one, where it finds no such line:
//!
//! * the ring is on another process's heap, its name was removed, or this user may not read it;
//! * its directory and the label have more than 432 bytes together;
//! * the endpoint was killed, and another one has its line: the last position was nowhere else, and an endpoint that
//!   takes a line does not know the counters file of the one before it.
//!
//! An endpoint that ends leaves its last position in the slot. A consumer that is away and keeps its place has a lag
//! all the same; one that has left for good has none.
//!
//! Everything else happens in waits: full and empty polls, and parks. An endpoint counts these privately and brings its
//! slots up to date:
//!
//! * a producer: whenever its private gate has run out and it refreshes the gate (at the latest after as many
//!   events as the ring has slots), at each liveness check while it waits (every 100 ms unless set), and when
//!   it ends;
//! * a consumer: whenever it begins to wait for an event, at each liveness check while it waits, and when it detaches;
//! * both: in `attach_counters` and in `counters()`.
//!
//! The counters of messages and values, from `frames_fragmented` on, are brought up to date at the same moments.
//! [`CounterId::CONSUMER_LAG_MAX`] is the largest lag that the consumer found in `counters()` and when it ended, or the
//! present one. A dashboard gets the largest lag over a time from its own readings of [`CounterId::CONSUMER_LAG`].
//!
//! # Labels
//!
//! The label of an endpoint's counter is `ring/producer` or `ring/consumer/id`, with the name of the ring, which is
//! never cut. Rings on the heap are named `heap`. Rings of one name are told apart by their `directory`. The label of
//! what a layer above counts of another party is of the same form, such as `ring/worker/id`. The label of a program's
//! own counter is any text of up to [`COUNTER_LABEL_BYTES_MAX`] bytes.
//!
//! # Rates
//!
//! A rate is the difference of two readings over the time between them:
//!
//! ```
//! use std::time::{Duration, Instant};
//! use disruptor_mp::{CounterId, CountersFile, Deadline, HeapRing};
//!
//! let (file, ring) = (CountersFile::anonymous(), HeapRing::<u64>::new(8)?);
//! let mut tx = ring.producer()?;
//! tx.attach_counters_selected(&file, &[CounterId::EVENTS_PUBLISHED])?;
//!
//! let (before, since) = (file.snapshot()[0].value, Instant::now());
//! tx.send_batch(8, Deadline::NEVER, |_, _| {})?;
//! std::thread::sleep(Duration::from_millis(1));
//! let rate = (file.snapshot()[0].value - before) as f64 / since.elapsed().as_secs_f64();
//! assert!(rate > 0.0 && rate <= 8_000.0);                     // events per second
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Prometheus does the same: `rate(myelon_events_published_total[1m])`.
//!
//! # The ids
//!
//! [`COUNTERS`] lists the ids of this crate family; a program's own ids begin at [`APPLICATION_IDS_FROM`].
//!
//! # Dashboards
//!
//! With the feature `metrics`, `prometheus_text` turns a snapshot into text that Prometheus can scrape. With
//! the feature `opentelemetry`, `register_instruments` lets a meter's instruments report a snapshot whenever
//! they are collected. Both tell endpoints apart by `ring`, `role`, `id` and `directory`. They may run in another
//! process, and cost the rings nothing.

mod endpoint;
mod error;
mod file;
mod ids;
#[cfg(feature = "opentelemetry")]
mod instruments;
#[cfg(feature = "metrics")]
mod metrics;
mod on_disk;
mod position;
mod slot;
mod table;

pub use error::CountersError;
pub use file::{COUNTERS_FILE_SLOTS, CounterHandle, CountersFile, PartyCounter};
pub use ids::{APPLICATION_IDS_FROM, COUNTERS, CounterId, CounterInfo};
#[cfg(feature = "opentelemetry")]
pub use instruments::register_instruments;
#[cfg(feature = "metrics")]
pub use metrics::prometheus_text;
pub use slot::{COUNTER_LABEL_BYTES_MAX, CounterSnapshot};

pub(crate) use endpoint::{EndpointCounters, EndpointKind};
pub(crate) use position::Standing;
