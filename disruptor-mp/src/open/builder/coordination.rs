//! The consumers that a new producer expects, and how it waits for them before it is handed out.

use std::time::Duration;

use super::{CoordinationMode, DiscoveryMode, DisruptorBuilder};
use crate::error::{MultiProcessError, MultiProcessResult, SendError};
use crate::event::Event;
use crate::handles::consumer::check_id;
use crate::handles::producer::Producer;
use crate::layout::control::ConsumerId;
use crate::protocol::expect::Expectation;
use crate::waiting::deadline::Deadline;

impl<E: Event, B> DisruptorBuilder<E, B> {
    pub(super) fn expectation(&self) -> MultiProcessResult<Expectation> {
        let ids: Vec<String> = match &self.discovery {
            DiscoveryMode::Disabled => Vec::new(),
            DiscoveryMode::Any { .. } => return Ok(Expectation::new(Vec::new(), true)),
            DiscoveryMode::Prefix {
                max_consumers,
                prefix,
            } => (0..*max_consumers)
                .map(|index| format!("{prefix}_{index}"))
                .collect(),
            DiscoveryMode::Ids(ids) => ids.clone(),
        };
        let ids = ids
            .iter()
            .map(|id| check_id(id))
            .collect::<MultiProcessResult<Vec<ConsumerId>>>()?;
        Ok(Expectation::new(ids, false))
    }

    pub(super) fn coordinate(&self, producer: &mut Producer<E, B>) -> MultiProcessResult<()> {
        let counts_consumers = matches!(self.discovery, DiscoveryMode::Any { .. })
            || self.coordination != CoordinationMode::Immediate;
        if counts_consumers {
            // a dead producer's ring may still have the lines of consumers that died with the producer: they
            // do not count
            producer.evict_dead();
        }
        match self.coordination {
            CoordinationMode::Immediate => Ok(()),
            CoordinationMode::BufferUntilConsumers { max_buffer } => {
                let last =
                    producer.last_published_sequence() + max_buffer.min(producer.capacity()) as i64;
                producer.core.expectation().expect_any();
                producer.core.expectation().buffer_until(last);
                Ok(())
            }
            CoordinationMode::WaitForConsumers {
                min_consumers,
                timeout,
            } => {
                let timeout = self.coordination_timeout.unwrap_or(timeout);
                self.wait_for(producer, min_consumers, timeout)
            }
        }
    }

    /// Sleeps until `min_consumers` consumers are registered and every expected consumer has come (R9).
    fn wait_for(
        &self,
        producer: &mut Producer<E, B>,
        min_consumers: usize,
        timeout: Duration,
    ) -> MultiProcessResult<()> {
        let deadline = Deadline::after(timeout);
        let interval = self
            .discovery_interval
            .unwrap_or(self.habits.liveness_interval);
        let outcome = producer.wait_for_arrival(deadline, interval, |producer| {
            missing(producer, min_consumers).is_empty()
        });
        let (name, missing) = (self.shown(), missing(producer, min_consumers));
        match outcome {
            _ if missing.is_empty() => Ok(()),
            Ok(false) => Err(MultiProcessError::CoordinationTimeout {
                name,
                missing,
                waited: timeout,
            }),
            Err(SendError::Cancelled) => {
                Err(MultiProcessError::CoordinationCancelled { name, missing })
            }
            // a lost lock is what the producer's first call reports
            Ok(true) | Err(_) => Ok(()),
        }
    }
}

/// What has not come: ids, and how many consumers of any id.
fn missing<E: Event, B>(producer: &mut Producer<E, B>, min_consumers: usize) -> Vec<String> {
    let count = producer.get_consumer_count();
    let expectation = producer.core.expectation();
    expectation.is_pending(producer.segment.control());
    let mut missing = expectation.missing();
    if count < min_consumers {
        let absent = min_consumers - count;
        missing.push(format!("{absent} of {min_consumers} consumers"));
    }
    missing
}
