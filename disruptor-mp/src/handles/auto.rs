//! A consumer on a thread of its own.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use crate::Sequence;
use crate::error::{MultiProcessError, MultiProcessResult, RecvError};
use crate::event::Event;
use crate::handles::consumer::Consumer;
use crate::os::step::Step;
use crate::os::{cpu, fork};
use crate::segment::io_error;
use crate::sync::process::{AtomicU64, Ordering};
use crate::waiting::cancel::CancelToken;
use crate::waiting::deadline::Deadline;

/// What happens to an event whose handler panics. In any case the panic is reported, as a `tracing` event and
/// by [`AutoConsumer::panics`].
///
/// # Examples
///
/// See [`AutoConsumer`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandlerPanicPolicy {
    /// The event is not released, and the thread ends: a durable consumer's next incarnation gets the event again.
    #[default]
    Redeliver,
    /// The event is released, and the thread goes on with the next one.
    Skip,
}

/// A thread that passes each event to a handler, until it is told to stop, the ring is closed, or the handler panics.
///
/// Dropping it stops the thread and waits for the thread's end. If the handler itself drops it, the drop
/// stops the thread but does not wait: the thread ends when the handler has returned.
///
/// # Examples
///
/// ```
/// use std::sync::mpsc;
/// use disruptor_mp::{Deadline, HeapRing};
///
/// let ring = HeapRing::<u64>::new(8)?;
/// let mut tx = ring.producer()?;
/// let (seen, events) = mpsc::channel();
/// let handler = ring.builder().handle_events_with(move |event, _, _| seen.send(*event).unwrap())?;
/// tx.send(Deadline::NEVER, |event| *event = 7)?;
/// assert_eq!(events.recv(), Ok(7));
/// handler.shutdown_and_join().unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A handler that panics:
///
/// ```
/// use disruptor_mp::{Deadline, HandlerPanicPolicy, HeapRing};
///
/// let ring = HeapRing::<u64>::new(8)?;
/// let mut tx = ring.producer()?;
/// let skips = ring
///     .builder()
///     .with_panic_policy(HandlerPanicPolicy::Skip)
///     .handle_events_with(|event, _, _| assert_ne!(*event, 7))?;
/// let ends = ring.builder().handle_events_with(|event, _, _| assert_ne!(*event, 7))?;
/// tx.send(Deadline::NEVER, |event| *event = 7)?;
/// tx.close()?;
/// while skips.is_running() || ends.is_running() {
///     std::thread::yield_now();
/// }
/// assert_eq!((skips.panics(), ends.panics()), (1, 1));
/// skips.shutdown();                                      // the ring's end has ended it; `join` says how
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

/// Starts the thread for the ring `name`, which messages call `shown`, and only then makes its consumer with
/// `attach`, so that a ring is not touched if no thread can be had. `stop` is one of the consumer's cancel tokens.
pub(crate) fn start<E, B, F>(
    (name, shown): (&str, &str),
    core: Option<usize>,
    on_panic: HandlerPanicPolicy,
    stop: CancelToken,
    handle: F,
    attach: impl FnOnce() -> MultiProcessResult<Consumer<E, B>>,
) -> MultiProcessResult<AutoConsumer>
where
    E: Event,
    B: 'static,
    F: FnMut(&E, Sequence, bool) + Send + 'static,
{
    let failed = |step| io_error(shown, PathBuf::new(), step);
    let (hand_over, handed_over) = mpsc::sync_channel::<Handler<E, B, F>>(1);
    let (say, is_pinned) = mpsc::sync_channel(1);
    let thread = thread::Builder::new()
        .name(format!("ring {name}"))
        .spawn(move || {
            let _ = say.send(core.map_or(Ok(()), cpu::pin_current_thread));
            // no handler comes if the consumer could not be attached
            handed_over.recv().map_or(Ok(()), Handler::run)
        })
        .map_err(failed(Step::StartThread))?;
    let panics = Arc::new(AtomicU64::new(0));
    let attached = is_pinned
        .recv()
        .unwrap_or(Ok(()))
        .map_err(failed(Step::Pin))
        .and_then(|()| attach());
    let handler = attached.map(|consumer| Handler {
        consumer,
        on_panic,
        stop: stop.clone(),
        panics: Arc::clone(&panics),
        handle,
    });
    match handler {
        Ok(handler) => {
            // the thread waits for the handler
            let _ = hand_over.send(handler);
            Ok(AutoConsumer {
                stop,
                panics,
                thread: Some(thread),
                live: fork::live_word(),
            })
        }
        Err(error) => {
            drop(hand_over);
            let _ = thread.join();
            Err(error)
        }
    }
}

/// The state that the thread owns.
struct Handler<E: Event, B, F> {
    consumer: Consumer<E, B>,
    on_panic: HandlerPanicPolicy,
    stop: CancelToken,
    panics: Arc<AtomicU64>,
    handle: F,
}

impl<E: Event, B, F: FnMut(&E, Sequence, bool)> Handler<E, B, F> {
    /// Handles events until the thread is told to stop or the ring has ended. An end by a panic, a doubt or a
    /// lost lock is an error with its text.
    fn run(mut self) -> Result<(), String> {
        while !self.stop.is_cancelled() {
            let (consumer, handle) = (&mut self.consumer, &mut self.handle);
            let stop = &self.stop;
            // state that a handler leaves half done is the handler's own; the consumer releases the events
            // handled before
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                consumer.process_until(Deadline::NEVER, || stop.is_cancelled(), handle)
            }));
            match outcome {
                Ok(Ok(_) | Err(RecvError::Timeout | RecvError::ProducerDead { .. })) => {}
                Ok(Err(error @ RecvError::InDoubt { .. })) => {
                    tracing::error!(ring = %self.consumer.name(), %error, on_panic = ?self.on_panic);
                    if self.on_panic == HandlerPanicPolicy::Redeliver {
                        return Err(error.to_string());
                    }
                }
                Ok(Err(error @ RecvError::LockLost)) => return Err(error.to_string()),
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
    /// Tells the thread to stop: at once if it waits, otherwise after the next event. The handler is told
    /// that this event is the last one, unless it has already begun with the last event of a batch; later
    /// events stay unreleased. Async-signal-safe, as [`CancelToken::cancel`] is.
    pub fn shutdown(&self) {
        if !self.is_forked() {
            self.stop.cancel();
        }
    }

    /// Whether this process is a forked child, whose parent has the thread.
    fn is_forked(&self) -> bool {
        self.live.load(Ordering::Relaxed) == 0
    }

    /// Waits for the thread to end by itself: when the ring is closed, or after [`shutdown`](Self::shutdown).
    ///
    /// # Errors
    ///
    /// When a panic of the handler ended the thread: the error says at which event, and what the panic said. When
    /// events are in doubt ([`RecvError::InDoubt`]), unless panics are skipped: the consumer's next incarnation
    /// goes on. When the program has closed the descriptor of the consumer's lock ([`RecvError::LockLost`]). In a
    /// forked process, whose parent has the thread. On the handler's own thread, which cannot wait for itself
    /// ([`io::ErrorKind::Deadlock`]): the thread is told to stop and ends when the handler has returned.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use std::sync::mpsc;
    /// use disruptor_mp::{AutoConsumer, Deadline, HeapRing};
    ///
    /// let ring = HeapRing::<u64>::new(8)?;
    /// let mut tx = ring.producer()?;
    /// let (give, given) = mpsc::channel::<AutoConsumer>();
    /// let (say, said) = mpsc::channel();
    /// give.send(ring.builder().handle_events_with(move |_, _, _| {
    ///     let me = given.recv().unwrap();
    ///     say.send(me.join().unwrap_err().kind()).unwrap();
    /// })?)?;
    /// tx.send(Deadline::NEVER, |event| *event = 7)?;
    /// assert_eq!(said.recv()?, ErrorKind::Deadlock);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

    /// Whether the thread still handles events: false after the end of the ring, after a panic of the handler
    /// that was not skipped, and in a forked process.
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
            // this process does not have the thread, and can neither join nor detach it (R8)
            core::mem::forget(self.thread.take());
            return Err(io::Error::other(MultiProcessError::Forked));
        }
        let thread = self.thread.take();
        if let Some(thread) = &thread
            && thread.thread().id() == thread::current().id()
        {
            return Err(io::Error::new(
                io::ErrorKind::Deadlock,
                "a handler thread cannot wait for its own end: it was told to stop, and ends when the handler has returned",
            ));
        }
        match thread.map(JoinHandle::join) {
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
