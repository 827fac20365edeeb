//! The setters of the builder: each consumes the builder and returns it.

use std::time::Duration;

use super::{CoordinationMode, DiscoveryMode, DisruptorBuilder};
use crate::Sequence;
use crate::event::Event;
#[cfg(doc)]
use crate::handles::auto::AutoConsumer;
use crate::handles::auto::HandlerPanicPolicy;
#[cfg(doc)]
use crate::handles::observer::Observer;
use crate::handles::producer::SyncPolicy;
use crate::handles::start::StartFrom;
use crate::region::HugePages;
use crate::waiting::cancel::CancelToken;
use crate::waiting::{AutoWaitStrategy, LIVENESS_INTERVAL_MAX};

impl<E: Event, B> DisruptorBuilder<E, B> {
    /// What the producer waits for before it is handed out.
    ///
    /// # Examples
    ///
    /// See [`CoordinationMode`].
    pub fn with_coordination(mut self, mode: CoordinationMode) -> Self {
        self.coordination = mode;
        self
    }

    /// How long [`CoordinationMode::WaitForConsumers`] waits, in place of its own timeout.
    pub fn with_coordination_timeout(mut self, timeout: Duration) -> Self {
        self.coordination_timeout = Some(timeout);
        self
    }

    /// Waits for at least `min_consumers` before the producer is handed out.
    pub fn wait_for_consumers(self, min_consumers: i64, timeout: Duration) -> Self {
        self.with_coordination(CoordinationMode::wait_for_consumers(min_consumers, timeout))
    }

    /// Which consumers the producer expects.
    ///
    /// # Examples
    ///
    /// See [`DiscoveryMode`].
    pub fn with_discovery(mut self, mode: DiscoveryMode) -> Self {
        self.discovery = mode;
        self
    }

    /// Expects at least one consumer, of any id.
    pub fn enable_discovery(self, max_consumers: usize) -> Self {
        self.with_discovery(DiscoveryMode::Any { max_consumers })
    }

    /// Expects the consumers `{prefix}_0` to `{prefix}_{max − 1}`.
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::Deadline;
    ///
    /// let ring = disruptor_mp::HeapRing::<u64>::new(1)?;
    /// let mut tx = ring.builder().discover_consumer_with_prefix(2, "worker").build_zeroed_producer()?;
    /// tx.send(Deadline::NEVER, |event| *event = 7)?;
    /// assert_eq!(ring.consumer("worker_0")?.recv_owned(Deadline::NEVER)?, (0, 7));
    /// assert!(tx.try_send(|event| *event = 8).is_err(), "worker_1 has not come");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn discover_consumer_with_prefix(self, max: usize, prefix: &str) -> Self {
        self.with_discovery(DiscoveryMode::Prefix {
            max_consumers: max,
            prefix: prefix.to_owned(),
        })
    }

    /// How often a builder that waits for consumers checks by itself whether they have come: once in a
    /// liveness interval unless set. A consumer that attaches wakes the builder at once in any case.
    pub fn with_discovery_interval(mut self, interval: Duration) -> Self {
        self.discovery_interval = Some(interval);
        self
    }

    /// An explicit id makes the consumer durable: its position outlives its process, and it gates until it comes
    /// back or is removed.
    pub fn with_consumer_id(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// Pins the thread that builds, or an auto consumer's own thread, to this core.
    pub fn with_consumer_core(mut self, core: usize) -> Self {
        self.core = Some(core);
        self
    }

    /// Pins the whole process to this core.
    pub fn with_process_core(mut self, core: usize) -> Self {
        self.process_core = Some(core);
        self
    }

    /// How blocked calls of the handle wait.
    pub fn with_wait_strategy(mut self, strategy: AutoWaitStrategy) -> Self {
        self.habits.strategy = strategy;
        self
    }

    /// How often a blocked call checks liveness: every 100 ms unless set. A call that waits for a party that
    /// has died learns of the death at most this much later.
    pub fn with_liveness_interval(mut self, interval: Duration) -> Self {
        self.habits.liveness_interval = interval.min(LIVENESS_INTERVAL_MAX);
        self
    }

    /// Adds a token; cancelling it ends the waits of the handle.
    pub fn with_cancel_token(mut self, token: &CancelToken) -> Self {
        self.habits.cancels.push(token.clone());
        self
    }

    /// What happens to an event whose handler panics.
    ///
    /// # Examples
    ///
    /// See [`AutoConsumer`].
    pub fn with_panic_policy(mut self, policy: HandlerPanicPolicy) -> Self {
        self.on_panic = policy;
        self
    }

    /// Where a new consumer starts.
    ///
    /// # Examples
    ///
    /// See [`StartFrom`].
    pub fn with_start(mut self, start: StartFrom) -> Self {
        self.start = start;
        self
    }

    /// Applies to a durable consumer that left for good, or was removed, and attaches again under the same
    /// producer: it starts with the events that are published after it has come, as long as the ring's lines
    /// still show that it had left. For the layers above.
    #[doc(hidden)]
    pub fn skip_absence(mut self) -> Self {
        self.skips_absence = true;
        self
    }

    /// What the ring is for, in a few words, which messages add to the ring's name. For the layers above,
    /// whose ring names tell a reader nothing.
    #[doc(hidden)]
    pub fn described_as(mut self, label: &str) -> Self {
        self.label = Some(label.escape_debug().to_string().into());
        self
    }

    /// The sequence of a new ring's first event; zero unless set. Tests set it to see a wrap.
    pub fn with_first_sequence(mut self, first: Sequence) -> Self {
        self.want.first_sequence = first;
        self
    }

    /// Permission bits of a new segment, whatever the umask is; 0600 unless set. Consumers, and producers
    /// that take over, need to read and write the file (0660 for a group); observers need only to read it
    /// (0640). The file belongs to the group of the process that creates it, and users other than its owner
    /// must also call [`allow_any_owner`](Self::allow_any_owner). The owner itself needs 0600.
    pub fn with_mode(mut self, mode: u32) -> Self {
        self.want.memory.mode = mode & 0o777;
        self
    }

    /// Accepts a segment that another user owns.
    pub fn allow_any_owner(mut self) -> Self {
        self.want.memory.any_owner = true;
        self
    }

    /// Whether to ask for huge pages.
    pub fn with_huge_pages(mut self, huge_pages: HugePages) -> Self {
        self.want.memory.huge_pages = huge_pages;
        self
    }

    /// Locks the pages in memory; building fails where the system's limit does not allow it.
    pub fn with_memory_lock(mut self) -> Self {
        self.want.memory.lock = true;
        self
    }

    /// Keeps the ring in a core dump of this process. By default a core dump has the memory of the process
    /// without the ring, which may be large and may hold other processes' data.
    pub fn with_core_dump(mut self) -> Self {
        self.want.memory.core_dump = true;
        self
    }

    /// Maps a consumer's slots writable; by default they are mapped read-only. No call of this crate writes
    /// them; the read-only mapping guards against stray pointers in other code of the process. On the one
    /// machine that was measured, a read-only mapping makes a round trip 50 % longer and leaves streams as
    /// they are (`rfcs/0003`): set this where latency is what counts.
    pub fn with_writable_slots(mut self) -> Self {
        self.want.memory.writable_slots = true;
        self
    }

    /// Replaces a ring of this name that is of another version or does not fit, as long as its producer is
    /// not alive. Also replaces a damaged ring, or the remains of one after a power cut (an empty file,
    /// zeros, a part), as long as no process is alive in it. A valid ring that fits is taken over as always,
    /// and a file of another kind is left alone.
    pub fn recreate(mut self) -> Self {
        self.want.recreate = true;
        self
    }

    /// What the producer does so that events in a mapped file outlive a power cut.
    ///
    /// # Examples
    ///
    /// See [`SyncPolicy`].
    pub fn with_sync(mut self, policy: SyncPolicy) -> Self {
        self.want.keeps_floor = policy == SyncPolicy::KeepSynced;
        self
    }

    /// Makes the producer create the ring for [`Observer`]s. Each event is then copied once more, and its
    /// slot is marked while it is written; other rings pay nothing. A ring stays as it was created.
    pub fn with_observers(mut self) -> Self {
        self.want.observed = true;
        self
    }

    /// Lets a consumer wait up to `timeout` for the ring to be created, or until a token is cancelled;
    /// unless set, it does not wait. No process can wake this wait, so the consumer tries to open the ring
    /// again: after `MYELON_DISCOVERY_POLL_MS` at first, and then less and less often.
    pub fn wait_for_ring(mut self, timeout: Duration) -> Self {
        self.ring_timeout = timeout;
        self
    }
}
