//! Publishes that wait only while the required consumers make progress.
//!
//! The fast path of a managed publish loads one word, like that of a plain publish. No call takes it
//! ([`FastPath::EVERY_CALL_CHECKS`]) until the required consumers have come, after a failure, and in a ring with
//! observers. So every case except "there is space and nothing is wrong" is one cold call.
//!
//! One wait for space is one episode. Space is found only when every consumer that gated has moved on or has left, so
//! no alert outlives the episode; only a failure does.
//!
//! A producer that waits for other consumers, or that has raised its alerts, checks no more often than any other
//! blocked producer: a consumer that makes room or comes back wakes it.

use std::time::{Duration, Instant};

use super::Producer;
use crate::Sequence;
use crate::clock;
use crate::error::SendError;
use crate::event::Event;
use crate::handles::guards::Claim;
use crate::layout::control::{ConsumerId, ConsumerLine};
use crate::liveness::fast_path::FastPath;
use crate::liveness::watch::{Required, Stall, Watch, clear, failure_of, find, grace_left, raise};
use crate::liveness::{
    RequiredConsumerAlert, RequiredConsumerError, RequiredConsumerLivenessConfig,
};
use crate::protocol::registered::registered;
use crate::segment::describe;
use crate::sync::process::Ordering;
use crate::waiting::deadline::Deadline;

/// A shorter interval would only take the consumers' cache lines away from their cores.
const INTERVAL_MIN: Duration = Duration::from_micros(100);

impl<E: Event, B> Producer<E, B> {
    /// Names the consumers that this producer depends on; [`publish_managed`](Self::publish_managed) and
    /// [`publish_batch_managed`](Self::publish_batch_managed) watch them from now on. Calling it again starts
    /// a new watch and forgets a failure.
    ///
    /// The first managed publish waits until all of them are registered, attached or away. After that they
    /// are checked only while a managed publish finds the ring full.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use disruptor_mp::{HeapRing, RequiredConsumerError, RequiredConsumerLivenessConfig};
    ///
    /// let ring = HeapRing::<u64>::new(1)?;
    /// let (mut tx, _stuck) = (ring.producer()?, ring.consumer("risk")?);
    /// let config = RequiredConsumerLivenessConfig {
    ///     required_consumer_ids: vec!["risk".into()],
    ///     progress_timeout: Duration::from_millis(5),
    ///     shutdown_grace_period: Duration::from_millis(5),
    ///     ..Default::default()
    /// };
    /// tx.enable_required_consumer_liveness(config).print_required_consumer_alerts(false);
    /// assert_eq!(tx.publish_managed(|event| *event = 1), Ok(0));
    /// let failed = tx.publish_managed(|event| *event = 2);
    /// assert!(matches!(failed, Err(RequiredConsumerError::GracefulShutdownTriggered { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn enable_required_consumer_liveness(
        &mut self,
        config: RequiredConsumerLivenessConfig,
    ) -> &mut Self {
        self.liveness.fast_path = FastPath::EVERY_CALL_CHECKS;
        self.liveness.watch = Some(Box::new(Watch {
            required: config
                .required_consumer_ids
                .iter()
                .map(|id| Required {
                    id: ConsumerId::new(id),
                    stall: None,
                })
                .collect(),
            config,
            has_started: false,
            failure: None,
        }));
        self
    }

    /// Sets whether an alert is also printed, as one line on stderr; the default is true. The hook and the
    /// `tracing` event come in any case.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut tx = disruptor_mp::HeapRing::<u64>::new(4)?.producer()?;
    /// tx.print_required_consumer_alerts(false);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn print_required_consumer_alerts(&mut self, prints: bool) -> &mut Self {
        self.liveness.prints = prints;
        self
    }

    /// Publishes one event, waiting for a free slot for as long as the required consumers make progress.
    ///
    /// The closure gets the slot as the last lap left it, not cleared. Without required consumers this waits
    /// without a time limit. Costs what [`publish`](Self::publish) costs.
    ///
    /// # Errors
    ///
    /// Any of [`RequiredConsumerError`] except `BatchTooLarge`; nothing was published then.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut tx = disruptor_mp::HeapRing::<u64>::new(4)?.producer()?;
    /// assert_eq!(tx.publish_managed(|event| *event = 7), Ok(0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn publish_managed<F: FnOnce(&mut E)>(
        &mut self,
        write: F,
    ) -> Result<Sequence, RequiredConsumerError> {
        match self.vacant_managed(1) {
            Some(sequence) => Ok(self.core.publish(sequence, write)),
            None => Ok(self.claim_managed_slowly()?.write_slowly(write)),
        }
    }

    #[cold]
    #[inline(never)]
    fn claim_managed_slowly(&mut self) -> Result<Claim<'_, E>, RequiredConsumerError> {
        let sequence = self.wait_managed(1)?;
        Ok(self.claimed_slowly(sequence))
    }

    /// Claims the next slot, waiting for it as long as the required consumers make progress: write through
    /// the guard, then publish it.
    ///
    /// # Errors
    ///
    /// As [`publish_managed`](Self::publish_managed).
    ///
    /// # Examples
    ///
    /// ```
    /// let ring = disruptor_mp::HeapRing::<u64>::new(4)?;
    /// let mut tx = ring.producer()?;
    /// let mut slot = tx.claim_managed()?;
    /// *slot = 7;
    /// assert_eq!((slot.sequence(), slot.publish()), (0, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn claim_managed(&mut self) -> Result<Claim<'_, E>, RequiredConsumerError> {
        match self.vacant_managed(1) {
            Some(sequence) => Ok(self.claimed(sequence)),
            None => {
                let sequence = self.wait_managed_slowly()?;
                Ok(self.claimed_slowly(sequence))
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn wait_managed_slowly(&mut self) -> Result<Sequence, RequiredConsumerError> {
        self.wait_managed(1)
    }

    /// Publishes `n` events together, waiting until they fit, as long as the required consumers make
    /// progress. For zero events it does nothing and returns the last published sequence.
    ///
    /// # Errors
    ///
    /// Any of [`RequiredConsumerError`]; nothing was published then.
    ///
    /// # Examples
    ///
    /// ```
    /// let ring = disruptor_mp::HeapRing::<u64>::new(4)?;
    /// let mut tx = ring.producer()?;
    /// assert_eq!(tx.publish_batch_managed(3, |event, i| *event = i as u64), Ok(2));
    /// assert!(tx.publish_batch_managed(5, |_, _| {}).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn publish_batch_managed<F: FnMut(&mut E, usize)>(
        &mut self,
        n: usize,
        write: F,
    ) -> Result<Sequence, RequiredConsumerError> {
        match self.vacant_managed(n) {
            Some(first) => Ok(self.write_many(first, n, write)),
            None => {
                let first = self.wait_managed(n)?;
                Ok(self.write_many_slowly(first, n, write))
            }
        }
    }

    /// As [`claim_vacant`](Self::claim_vacant), for a managed publish.
    #[doc(hidden)]
    #[inline(always)]
    pub fn claim_vacant_managed(&mut self) -> Option<Claim<'_, E>> {
        let sequence = self.vacant_managed(1)?;
        Some(self.claimed(sequence))
    }

    /// As `vacant` for a plain publish.
    #[inline(always)]
    fn vacant_managed(&self, n: usize) -> Option<Sequence> {
        // this check comes first: a forked child must not read its position from the ring
        match self.liveness.fast_path.is_open() {
            true => self.core.vacant(n),
            false => None,
        }
    }

    /// Returns the failure if there is one; else waits for the start and then for space.
    #[cold]
    #[inline(never)]
    fn wait_managed(&mut self, n: usize) -> Result<Sequence, RequiredConsumerError> {
        if self.is_forked() {
            return Err(RequiredConsumerError::Forked);
        }
        if self.has_lost {
            return Err(RequiredConsumerError::LockLost);
        }
        if n == 0 {
            return Ok(self.core.next());
        }
        if n > self.core.capacity() {
            return Err(RequiredConsumerError::BatchTooLarge {
                requested: n,
                capacity: self.core.capacity(),
            });
        }
        let Some(watch) = &self.liveness.watch else {
            return self.wait_for_space(n, Deadline::NEVER).map_err(from_send);
        };
        if let Some(failure) = &watch.failure {
            return Err(failure.clone());
        }
        let interval = watch.config.progress_check_interval.max(INTERVAL_MIN);
        self.wait_for_start()?;
        // there may be space after the start; a ring with observers takes this path in any case
        if self.core.vacant(n).is_some() {
            return Ok(self.core.next());
        }
        // as a plain publish does, without reading the clock
        if self.core.is_refresh_worthwhile(n) && self.poll_space(n).map_err(from_send)? {
            return Ok(self.core.next());
        }
        let mut episode = Episode::begin(self);
        let tx = &mut *episode.tx;
        let mut waiter = tx.waiter(tx.habits.strategy, Deadline::NEVER);
        let mut until_check = interval;
        loop {
            waiter.set_deadline(Deadline::after(until_check));
            if tx.wait_until_space(n, &mut waiter).map_err(from_send)? {
                break;
            }
            tx.ask_for_progress(true);
            until_check = tx.check_required(n, clock::now())?.max(INTERVAL_MIN);
        }
        episode.has_space = true;
        Ok(episode.tx.core.next())
    }

    /// Waits, once, until all required consumers are registered.
    fn wait_for_start(&mut self) -> Result<(), RequiredConsumerError> {
        let watch = self.liveness.watch.as_ref();
        let Some(watch) = watch.filter(|watch| !watch.has_started) else {
            return Ok(());
        };
        let deadline = Deadline::after(watch.config.startup_wait_timeout);
        let interval = self.habits.liveness_interval;
        let have_come = self
            .wait_for_arrival(deadline, interval, |tx| tx.missing_required().is_empty())
            .map_err(from_send)?;
        let missing = self.missing_required();
        if !have_come && !missing.is_empty() {
            tracing::warn!(ring = %self.segment.shown, ?missing, "required consumers have not come");
            return Err(RequiredConsumerError::StartupTimeout { missing });
        }
        if let Some(watch) = &mut self.liveness.watch {
            watch.has_started = true;
        }
        self.liveness.fast_path = self.liveness.plain;
        Ok(())
    }

    /// The required consumers that are not registered, so that [`check_required`](Self::check_required)
    /// would not find them.
    fn missing_required(&self) -> Vec<String> {
        let present: Vec<ConsumerId> = registered(self.segment.control())
            .map(ConsumerLine::id)
            .collect();
        let watch = self.liveness.watch.iter();
        watch
            .flat_map(|watch| {
                watch
                    .config
                    .required_consumer_ids
                    .iter()
                    .zip(&watch.required)
            })
            .filter(|(_, required)| !required.id.is_some_and(|id| present.contains(&id)))
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// Checks every required consumer that keeps `n` slots from being free. Returns when the next check is due.
    fn check_required(
        &mut self,
        n: usize,
        now: Instant,
    ) -> Result<Duration, RequiredConsumerError> {
        // a consumer that has released less than this gates
        let needed = self.core.next() + n as i64 - 1 - self.core.capacity() as i64;
        let last = self.last_published_sequence();
        let prints = self.liveness.prints;
        let interval = self.habits.liveness_interval;
        let Some(watch) = &mut self.liveness.watch else {
            return Ok(interval);
        };
        let config = &watch.config;
        let mut next_check = interval.max(config.progress_check_interval);
        for (id, required) in config.required_consumer_ids.iter().zip(&mut watch.required) {
            let Required { id: line_id, stall } = required;
            let sight = find(&self.segment, line_id.as_ref());
            let Some(sight) = sight.filter(|sight| sight.sequence < needed) else {
                clear(&self.segment.shown, id, stall);
                continue;
            };
            if stall.is_some_and(|stall| stall.is_healed_by(sight)) {
                clear(&self.segment.shown, id, stall);
            }
            let stall = stall.get_or_insert(Stall::begin(sight, now));
            stall.is_attached = sight.is_attached;
            let stalled_for = now - stall.since;
            // a dead consumer makes no progress; it is reported at the second check, as it may be coming back
            // at the first one
            let is_dead = sight.is_dead && stall.since < now;
            if stalled_for < config.progress_timeout && !is_dead {
                next_check = next_check.min(config.progress_check_interval);
                continue;
            }
            let alert = || RequiredConsumerAlert {
                consumer_id: id.clone(),
                last_sequence: stall.sequence,
                stalled_for,
                ring: self.segment.shown.to_string(),
                owner: describe(sight.owner),
                pid: sight.owner.pid,
                is_alive: sight.is_attached,
                lag: last.saturating_sub(stall.sequence).max(0) as u64,
            };
            match stall.alerted {
                None => {
                    let alert = alert();
                    stall.alerted = Some(now);
                    next_check = next_check.min(grace_left(config, Duration::ZERO));
                    raise(&alert, config, prints);
                }
                Some(at) if grace_left(config, now - at).is_zero() => {
                    let failure = failure_of(alert());
                    tracing::error!(error = %failure, "a required consumer did not come back");
                    watch.failure = Some(failure.clone());
                    return Err(failure);
                }
                Some(at) => next_check = next_check.min(grace_left(config, now - at)),
            }
        }
        Ok(next_check)
    }

    /// Asks consumers that handle many events at once to release each event by itself, or ends that request.
    fn ask_for_progress(&self, is_watching: bool) {
        let word = &self.segment.control().waiters.is_watching;
        // a wait that ends before its first check stores nothing here, so that the readers keep the cache line
        if word.load(Ordering::Relaxed) != u32::from(is_watching) {
            word.store(u32::from(is_watching), Ordering::Relaxed);
        }
    }

    /// Ends an episode. If there is space, every consumer that gated has moved on.
    fn end_episode(&mut self, has_space: bool) {
        self.ask_for_progress(false);
        self.liveness.is_episode = false;
        if let Some(watch) = &mut self.liveness.watch {
            let ids = &watch.config.required_consumer_ids;
            for (id, required) in ids.iter().zip(&mut watch.required) {
                if has_space {
                    clear(&self.segment.shown, id, &mut required.stall);
                }
                required.stall = None;
            }
            if watch.failure.is_some() {
                self.liveness.fast_path = FastPath::EVERY_CALL_CHECKS;
            }
        }
    }
}

/// A managed publish that waits. However it ends, even by a panic of the hook, it no longer watches consumers.
struct Episode<'a, E: Event, B> {
    tx: &'a mut Producer<E, B>,
    has_space: bool,
}

impl<'a, E: Event, B> Episode<'a, E, B> {
    fn begin(tx: &'a mut Producer<E, B>) -> Self {
        tx.liveness.is_episode = true;
        Self {
            tx,
            has_space: false,
        }
    }
}

impl<E: Event, B> Drop for Episode<'_, E, B> {
    fn drop(&mut self) {
        self.tx.end_episode(self.has_space);
    }
}

/// The errors that a wait for space can return.
fn from_send(error: SendError) -> RequiredConsumerError {
    match error {
        SendError::BatchTooLarge {
            requested,
            capacity,
        } => RequiredConsumerError::BatchTooLarge {
            requested,
            capacity,
        },
        SendError::SequenceExhausted => RequiredConsumerError::SequenceExhausted,
        SendError::Forked => RequiredConsumerError::Forked,
        SendError::LockLost => RequiredConsumerError::LockLost,
        SendError::Cancelled => RequiredConsumerError::Cancelled,
        SendError::Disk { what } => RequiredConsumerError::Disk { what },
        SendError::Timeout { .. } => unreachable!("a managed wait ends by its watch"),
    }
}
