//! A consumer on a thread of its own.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crate::cancel::CancelToken;
use crate::consumer::Consumer;
use crate::deadline::Deadline;
use crate::error::{MultiProcessError, MultiProcessResult, RecvError};
use crate::os::{cpu, fork};
use crate::sync::process::{AtomicU64, Ordering};
use crate::{Event, Sequence};

/// What becomes of an event whose handler panics. The panic is reported in any case: as a `tracing` event, and by
/// [`AutoConsumer::panics`].
///
/// # Examples
///
/// See [`AutoConsumer`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandlerPanicPolicy {
    /// It is not released, and the thread ends: a durable consumer's next incarnation gets it again.
    #[default]
    Redeliver,
    /// It is released, and the thread goes on with the next one.
    Skip,
}

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
///
/// A handler that panics:
///
/// ```
/// use disruptor_mp::{HandlerPanicPolicy, HeapRing};
///
/// let ring = HeapRing::<u64>::new(8)?;
/// let mut tx = ring.producer()?;
/// let skips = ring
///     .builder()
///     .with_panic_policy(HandlerPanicPolicy::Skip)
///     .handle_events_with(|event, _, _| assert_ne!(*event, 7))?;
/// let ends = ring.builder().handle_events_with(|event, _, _| assert_ne!(*event, 7))?;
/// tx.publish(|event| *event = 7);
/// tx.close()?;
/// while skips.is_running() || ends.is_running() {
///     std::thread::yield_now();
/// }
/// assert_eq!((skips.panics(), ends.panics()), (1, 1));
/// skips.shutdown();                                      // it has ended with the ring; joining says how
/// assert!(skips.join().is_ok());
/// assert!(ends.join().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AutoConsumer {
    stop: CancelToken,
    panics: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<(), String>>>,
    /// Zero in a forked child, which does not have the thread.
    live: &'static AtomicU64,
}

/// Starts the thread. `stop` is one of the consumer's cancel tokens.
pub(crate) fn start<E, B, F>(
    consumer: Consumer<E, B>,
    core: Option<usize>,
    on_panic: HandlerPanicPolicy,
    stop: CancelToken,
    handle: F,
) -> MultiProcessResult<AutoConsumer>
where
    E: Event,
    B: 'static,
    F: FnMut(&E, Sequence, bool) + Send + 'static,
{
    let name = consumer.name().to_owned();
    let panics = Arc::new(AtomicU64::new(0));
    let handler = Handler {
        consumer,
        on_panic,
        stop: stop.clone(),
        panics: Arc::clone(&panics),
        handle,
    };
    let thread = thread::Builder::new().name(format!("ring {name}"));
    match thread.spawn(move || handler.run(core)) {
        Ok(thread) => Ok(AutoConsumer {
            stop,
            panics,
            thread: Some(thread),
            live: fork::live_word(),
        }),
        Err(source) => Err(MultiProcessError::Io {
            name,
            operation: "start a handler thread",
            source,
        }),
    }
}

/// What the thread has.
struct Handler<E: Event, B, F> {
    consumer: Consumer<E, B>,
    on_panic: HandlerPanicPolicy,
    stop: CancelToken,
    panics: Arc<AtomicU64>,
    handle: F,
}

impl<E: Event, B, F: FnMut(&E, Sequence, bool)> Handler<E, B, F> {
    /// The end is an error if it was a panic: what it said.
    fn run(mut self, core: Option<usize>) -> Result<(), String> {
        if let Some(core) = core
            && let Err(error) = cpu::pin_current_thread(core)
        {
            tracing::warn!(core, %error, "could not pin the handler thread");
        }
        while !self.stop.is_cancelled() {
            let (consumer, handle) = (&mut self.consumer, &mut self.handle);
            let stop = &self.stop;
            // whatever a handler leaves half done is its own; the consumer releases what was handled before
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                consumer.process_until(Deadline::NEVER, || stop.is_cancelled(), handle)
            }));
            match outcome {
                Ok(Ok(_) | Err(RecvError::Timeout | RecvError::ProducerDead { .. })) => {}
                Ok(Err(error)) => {
                    tracing::debug!(ring = %self.consumer.name(), %error, "handler thread ends");
                    break;
                }
                Err(thrown) => self.recover(&text_of(&*thrown))?,
            }
        }
        Ok(())
    }

    fn recover(&mut self, said: &str) -> Result<(), String> {
        self.panics.fetch_add(1, Ordering::Relaxed);
        let sequence = self.consumer.current_sequence() + 1;
        let (ring, on_panic) = (self.consumer.name(), self.on_panic);
        tracing::error!(ring, sequence, said, ?on_panic, "the handler panicked");
        match on_panic {
            HandlerPanicPolicy::Redeliver => Err(format!(
                "the handler panicked at sequence {sequence}: {said}"
            )),
            HandlerPanicPolicy::Skip => {
                self.consumer.skip_to(sequence);
                Ok(())
            }
        }
    }
}

fn text_of(thrown: &(dyn Any + Send)) -> String {
    let text = thrown.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| thrown.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| String::from("something that is no text"))
}

impl AutoConsumer {
    /// Tells the thread to stop, at once if it waits, else after the next event. The handler is told that this is the last
    /// one, unless it has begun with the last of a batch; the events behind it stay unreleased.
    pub fn shutdown(&self) {
        if !self.is_forked() {
            self.stop.cancel();
        }
    }

    /// Whether the thread is a parent process's.
    fn is_forked(&self) -> bool {
        self.live.load(Ordering::Relaxed) == 0
    }

    /// Waits for the thread to end by itself: when the ring is closed, or after [`shutdown`](Self::shutdown).
    ///
    /// # Errors
    ///
    /// When a panic of the handler ended it; says at which event, and what the panic said. In a forked process, whose parent
    /// has the thread.
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

    /// Whether the thread still handles events: false after the end of the ring and after a panic of the handler that
    /// was not skipped, and in a forked process.
    pub fn is_running(&self) -> bool {
        let thread = self.thread.as_ref().filter(|_| !self.is_forked());
        thread.is_some_and(|thread| !thread.is_finished())
    }

    /// How often the handler has panicked.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    fn wait(&mut self) -> io::Result<()> {
        if self.is_forked() {
            // there is no such thread here: neither to be waited for nor to be let go (R8)
            core::mem::forget(self.thread.take());
            return Err(io::Error::other(MultiProcessError::Forked));
        }
        match self.thread.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(said))) => Err(io::Error::other(said)),
            Some(Err(_)) => Err(io::Error::other("the handler thread panicked")),
        }
    }
}

impl Drop for AutoConsumer {
    fn drop(&mut self) {
        self.shutdown();
        let _ = self.wait();
    }
}
