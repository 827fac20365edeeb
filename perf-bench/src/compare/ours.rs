//! The rings themselves, by the same loops as their peers: raw events, and messages in frames.

use std::error::Error;
use std::time::Duration;

use myelon::transport::{AlignedFixedFrame, FramedTransportConsumer, FramedTransportProducer};
use myelon::{
    AutoWaitStrategy, Deadline, Event, RecvError, SharedConsumer, SharedDisruptorBuilder,
    SharedMemory, SharedProducer,
};

use super::transport::{Link, Receiver, Sender, Transport};
use crate::payload::{OfWords, Words, bytes_of, words_of};
use crate::scenario::stream::send_one;
use crate::watch::stop;

/// How long an end without a core of its own waits inside.
const PATIENCE: Duration = Duration::from_secs(1);
const RING_ENDED: &str = "a ring of `compare` has ended";

fn with_waiting<E: Event>(
    builder: SharedDisruptorBuilder<E>,
    link: &Link,
) -> SharedDisruptorBuilder<E> {
    if link.has_cores {
        let spinning = AutoWaitStrategy::BusySpinWithSpinLoopHint;
        builder.with_wait_strategy(spinning).with_writable_slots()
    } else {
        builder.with_wait_strategy(AutoWaitStrategy::Block)
    }
}

fn producing<E: Event>(link: &Link) -> SharedDisruptorBuilder<E> {
    let builder = myelon::build_shared_single_producer(&link.name, link.capacity);
    with_waiting(builder, link)
}

fn consuming<E: Event>(link: &Link) -> SharedDisruptorBuilder<E> {
    let builder = myelon::attach_shared_consumer(&link.name, link.capacity);
    with_waiting(builder, link)
}

/// The number of received messages; 0 if none came in time.
fn received(result: Result<usize, RecvError>) -> usize {
    match result {
        Ok(messages) => messages,
        Err(RecvError::Timeout) => 0,
        Err(_) => stop(RING_ENDED),
    }
}

/// Rings of events.
pub(super) struct Raw;

pub(super) struct RawTx<const W: usize>(SharedProducer<Words<W>>);

pub(super) struct RawRx<const W: usize> {
    ring: SharedConsumer<Words<W>>,
    has_core: bool,
}

impl Transport for Raw {
    type Tx<const W: usize> = RawTx<W>;
    type Rx<const W: usize> = RawRx<W>;

    fn sender<const W: usize>(link: &Link) -> Result<RawTx<W>, Box<dyn Error>> {
        Ok(RawTx(producing(link).build_zeroed_producer()?))
    }

    fn receiver<const W: usize>(link: &Link) -> Result<RawRx<W>, Box<dyn Error>> {
        Ok(RawRx {
            ring: consuming(link).build_consumer()?,
            has_core: link.has_cores,
        })
    }
}

impl<const W: usize> Sender<W> for RawTx<W> {
    #[inline(always)]
    fn try_send(&mut self, write: &impl Fn(&mut [u64; W])) -> bool {
        self.0.publish(|event| write(event.words_mut()));
        true
    }
}

/// Rings of events to which each event is sent by a call.
pub(super) struct Called;

pub(super) struct CalledTx<const W: usize>(RawTx<W>);

impl Transport for Called {
    type Tx<const W: usize> = CalledTx<W>;
    type Rx<const W: usize> = RawRx<W>;

    fn sender<const W: usize>(link: &Link) -> Result<CalledTx<W>, Box<dyn Error>> {
        Ok(CalledTx(Raw::sender(link)?))
    }

    fn receiver<const W: usize>(link: &Link) -> Result<RawRx<W>, Box<dyn Error>> {
        Raw::receiver(link)
    }
}

impl<const W: usize> Sender<W> for CalledTx<W> {
    #[inline(always)]
    fn try_send(&mut self, write: &impl Fn(&mut [u64; W])) -> bool {
        self.0.try_send(write)
    }

    #[inline(always)]
    fn try_send_key(&mut self, key: u64) -> bool {
        send_one(&mut self.0.0, key);
        true
    }
}

impl<const W: usize> Receiver<W> for RawRx<W> {
    #[inline(always)]
    fn receive(&mut self, mut read: impl FnMut(&[u64; W])) -> usize {
        if self.has_core {
            return self.ring.process_available(|event, _| read(event.words()));
        }
        let deadline = Deadline::after(PATIENCE);
        received(
            self.ring
                .process_within(deadline, |event, _, _| read(event.words())),
        )
    }

    #[inline(always)]
    fn receive_one(&mut self, mut read: impl FnMut(&[u64; W])) -> usize {
        match self.ring.try_consume_next_leased() {
            Some(event) => {
                read(event.words());
                1
            }
            None => 0,
        }
    }
}

/// Rings of frames, of the smallest of three classes that takes the message whole.
pub(super) struct Framed;

/// A producer or consumer of each class.
enum ByClass<S, M, L> {
    Short(S),
    Middle(M),
    Long(L),
}

type Short = AlignedFixedFrame<64>;
type Middle = AlignedFixedFrame<1024>;
type Long = AlignedFixedFrame<4096>;
type Tx<F> = FramedTransportProducer<F, SharedMemory>;
type Rx<F> = FramedTransportConsumer<F, SharedMemory>;

pub(super) struct FramedTx(ByClass<Tx<Short>, Tx<Middle>, Tx<Long>>);

pub(super) struct FramedRx {
    ring: ByClass<Rx<Short>, Rx<Middle>, Rx<Long>>,
    has_core: bool,
}

/// The kind of all messages; the program's choice.
const KIND: u8 = 7;

/// Runs `$body` with `$ring` of whichever class.
macro_rules! of_class {
    ($by_class:expr, $ring:ident => $body:expr) => {
        match $by_class {
            ByClass::Short($ring) => $body,
            ByClass::Middle($ring) => $body,
            ByClass::Long($ring) => $body,
        }
    };
}

impl Transport for Framed {
    type Tx<const W: usize> = FramedTx;
    type Rx<const W: usize> = FramedRx;

    fn sender<const W: usize>(link: &Link) -> Result<FramedTx, Box<dyn Error>> {
        Ok(FramedTx(match W * 8 {
            0..=64 => ByClass::Short(Tx::from_builder(producing(link))?),
            65..=1024 => ByClass::Middle(Tx::from_builder(producing(link))?),
            _ => ByClass::Long(Tx::from_builder(producing(link))?),
        }))
    }

    fn receiver<const W: usize>(link: &Link) -> Result<FramedRx, Box<dyn Error>> {
        let ring = match W * 8 {
            0..=64 => ByClass::Short(Rx::from_builder(consuming(link))?),
            65..=1024 => ByClass::Middle(Rx::from_builder(consuming(link))?),
            _ => ByClass::Long(Rx::from_builder(consuming(link))?),
        };
        Ok(FramedRx {
            ring,
            has_core: link.has_cores,
        })
    }
}

impl<const W: usize> Sender<W> for FramedTx {
    #[inline(always)]
    fn try_send(&mut self, write: &impl Fn(&mut [u64; W])) -> bool {
        let mut words = [0; W];
        write(&mut words);
        let sent = of_class!(&mut self.0, ring => ring.publish(bytes_of(&words), KIND));
        sent.map_or_else(|_| stop(RING_ENDED), |_| true)
    }
}

impl<const W: usize> Receiver<W> for FramedRx {
    #[inline(always)]
    fn receive(&mut self, mut read: impl FnMut(&[u64; W])) -> usize {
        if !self.has_core && self.receive_one(&mut read) == 0 {
            return 0;
        }
        let first = usize::from(!self.has_core);
        first
            + received(of_class!(&mut self.ring, ring => {
                ring.process_available_messages(|_, message| read_words(message, &mut read))
            }))
    }

    #[inline(always)]
    fn receive_one(&mut self, mut read: impl FnMut(&[u64; W])) -> usize {
        received(of_class!(&mut self.ring, ring => {
            let message = ring.recv(Deadline::after(PATIENCE));
            message.map(|message| {
                read_words(&message, &mut read);
                1
            })
        }))
    }
}

/// A message that is too short is read as nothing, which no hash forgives.
#[inline(always)]
fn read_words<const W: usize>(message: &[u8], read: &mut impl FnMut(&[u64; W])) {
    if let Some(words) = words_of(message) {
        read(&words);
    }
}
