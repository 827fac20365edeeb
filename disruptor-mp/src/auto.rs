//! A consumer on a thread of its own.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::consumer::Consumer;
use crate::deadline::Deadline;
use crate::error::{MultiProcessError, MultiProcessResult, RecvError};
use crate::os::cpu;
use crate::sync::process::{AtomicBool, Ordering};
use crate::{Event, Sequence};

/// How long a handler thread waits before it looks whether it is to stop.
const STOP_INTERVAL: Duration = Duration::from_millis(20);

/// A thread that hands each event to a handler, until it is told to stop, the ring is closed, or the handler panics.
///
/// Dropping it stops the thread and waits for it.
///
/// # Examples
///
/// ```
/// use std::sync::mpsc;
/// use disruptor_mp::HeapRing;
///
/// let ring = HeapRing::<u64>::new(8)?;
/// let mut tx = ring.producer()?;
/// let (seen, events) = mpsc::channel();
/// let handler = ring.builder().handle_events_with(move |event, _, _| seen.send(*event).unwrap())?;
/// tx.publish(|event| *event = 7);
/// assert_eq!(events.recv(), Ok(7));
/// handler.shutdown_and_join().unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AutoConsumer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Starts the thread.
pub(crate) fn start<E, B, F>(
    mut consumer: Consumer<E, B>,
    core: Option<usize>,
    mut handle: F,
) -> MultiProcessResult<AutoConsumer>
where
    E: Event,
    B: 'static,
    F: FnMut(&E, Sequence, bool) + Send + 'static,
{
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let name = consumer.name().to_owned();
    let thread = thread::Builder::new()
        .name(format!("ring {name}"))
        .spawn(move || {
            if let Some(core) = core
                && let Err(error) = cpu::pin_current_thread(core)
            {
                tracing::warn!(core, %error, "could not pin the handler thread");
            }
            while !stopped.load(Ordering::Acquire) {
                match consumer.process_within(Deadline::after(STOP_INTERVAL), &mut handle) {
                    Ok(_) | Err(RecvError::Timeout | RecvError::ProducerDead { .. }) => {}
                    Err(error) => {
                        tracing::debug!(ring = %consumer.name(), %error, "handler thread ends");
                        break;
                    }
                }
            }
        });
    match thread {
        Ok(thread) => Ok(AutoConsumer {
            stop,
            thread: Some(thread),
        }),
        Err(source) => Err(MultiProcessError::Io {
            name,
            operation: "start a handler thread",
            source,
        }),
    }
}

impl AutoConsumer {
    /// Tells the thread to stop after the events that are there.
    pub fn shutdown(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Waits for the thread to end by itself: when the ring is closed, or after [`shutdown`](Self::shutdown).
    ///
    /// # Errors
    ///
    /// When the handler panicked.
    pub fn join(mut self) -> io::Result<()> {
        self.wait()
    }

    /// [`shutdown`](Self::shutdown), then [`join`](Self::join).
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    pub fn shutdown_and_join(self) -> io::Result<()> {
        self.shutdown();
        self.join()
    }

    /// Whether the thread still handles events: false after the end of the ring and after a panic of the handler.
    pub fn is_running(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }

    fn wait(&mut self) -> io::Result<()> {
        match self.thread.take().map(JoinHandle::join) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(_)) => Err(io::Error::other("the handler panicked")),
        }
    }
}

impl Drop for AutoConsumer {
    fn drop(&mut self) {
        self.shutdown();
        let _ = self.wait();
    }
}
