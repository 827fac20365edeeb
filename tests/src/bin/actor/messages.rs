//! Messages over a ring of frames: `message-produce`, `message-consume`, and what these endpoints do.

use disruptor_mp::{Deadline, DisruptorBuilder, RecvError, SendError, Sequence};
use myelon::transport::{
    FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer, TransportError,
};
use myelon_tests::Record;
use myelon_tests::frames::judge::How;
use myelon_tests::frames::{FRAME_BYTES, Frame, LEN_MIN, identify, message};
use myelon_tests::kinds::kind_of;

use crate::books::{Books, Sightings};
use crate::options::{self, Words};
use crate::storm::WRONG_PAUSE;
use crate::told::{Progress, SLICE, is_told};
use crate::{Answer, Failure, reply};

/// At most one producer and one consumer of messages.
pub(crate) struct Messages<B> {
    builder: Box<dyn Fn(usize) -> DisruptorBuilder<Frame, B>>,
    tx: Option<Sender<B>>,
    rx: Option<Receiver<B>>,
}

/// A producer with a ledger.
struct Sender<B> {
    tx: FramedTransportProducer<Frame, B>,
    books: Books,
    /// The next message's number.
    number: u64,
}

/// A consumer with a ledger.
struct Receiver<B> {
    rx: FramedTransportConsumer<Frame, B>,
    buffer: ReassemblyBuffer,
    seen: Seen,
}

/// The messages that a consumer has seen.
struct Seen {
    sightings: Sightings,
    count: u64,
    /// A description of the first fault in a message.
    fault: Option<String>,
}

impl<B> Messages<B> {
    pub(crate) fn new(builder: impl Fn(usize) -> DisruptorBuilder<Frame, B> + 'static) -> Self {
        Self {
            builder: Box::new(builder),
            tx: None,
            rx: None,
        }
    }

    /// Answers a line whose verb is `message-` and this one.
    pub(crate) fn answer(&mut self, verb: &str, words: &Words<'_>) -> Answer {
        match verb {
            "produce" => self.produce(words).map_err(told),
            "consume" => self.consume(words).map_err(told),
            "send" => self.tx().send_all(words),
            "pour" => self.tx().pour(words),
            "recv" => self.rx().recv(words),
            "follow" => self.rx().follow(words),
            "drop-rx" => {
                self.rx = None;
                Ok(String::new())
            }
            "close" => Ok(self
                .tx
                .take()
                .expect("a producer")
                .tx
                .close()
                .map(|_| String::new())?),
            other => panic!("no such verb: message-{other}"),
        }
    }

    fn tx(&mut self) -> &mut Sender<B> {
        self.tx.as_mut().expect("a producer")
    }

    fn rx(&mut self) -> &mut Receiver<B> {
        self.rx.as_mut().expect("a consumer")
    }

    fn produce(&mut self, words: &Words<'_>) -> Result<String, TransportError> {
        let builder = options::for_producer((self.builder)(words.number("cap") as usize), words);
        let tx = FramedTransportProducer::from_builder(builder)?;
        let next = tx.last_published_sequence() + 1;
        self.tx = Some(Sender {
            tx,
            books: Books::open(words, next),
            number: 0,
        });
        Ok(format!("next={next}"))
    }

    fn consume(&mut self, words: &Words<'_>) -> Result<String, TransportError> {
        let builder = options::for_consumer((self.builder)(words.number("cap") as usize), words);
        let rx = FramedTransportConsumer::from_builder(builder)?;
        let next = rx.as_ring().current_sequence() + 1;
        self.rx = Some(Receiver {
            rx,
            buffer: ReassemblyBuffer::new(),
            seen: Seen {
                sightings: Sightings::open(words, next),
                count: 0,
                fault: None,
            },
        });
        Ok(format!("next={next}"))
    }
}

/// An error of the ring is told as the same error of a ring of events is.
pub(crate) fn told(error: TransportError) -> Failure {
    match error {
        TransportError::Ring(error) => error.into(),
        error => error.into(),
    }
}

impl<B> Sender<B> {
    /// Sends the next message, and writes down the result.
    fn send(
        &mut self,
        len: usize,
        deadline: Deadline,
        is_early: bool,
    ) -> Result<Sequence, TransportError> {
        let number = self.number;
        self.number += 1;
        let writer = self.books.intend(number as Sequence, len as u64).writer;
        if is_early {
            self.books.acknowledge(number as Sequence);
            std::thread::sleep(WRONG_PAUSE);
        }
        let bytes = message(writer, number, len);
        let last = self.tx.send(&bytes, number as u8, deadline)?;
        if !is_early {
            self.books.acknowledge(number as Sequence);
        }
        Ok(last)
    }

    /// `message-send n=3 len=100`
    fn send_all(&mut self, words: &Words<'_>) -> Answer {
        let mut last = -1;
        for _ in 0..words.number_or("n", 1) {
            last = self.send(words.number("len") as usize, words.deadline(), false)?;
        }
        Ok(format!("last={last}"))
    }

    /// `message-pour seed=1`: sends messages of all sizes until the next line arrives. Now and then it gives up
    /// a message. `wrong=early` acknowledges a message before it is sent.
    fn pour(&mut self, words: &Words<'_>) -> Answer {
        reply(&Ok(String::from("pouring")));
        let is_early = words.get("wrong") == Some("early");
        let mut random = fastrand::Rng::with_seed(words.number("seed") as u64);
        let mut progress = Progress::new(words);
        let mut unsent = 0;
        while !is_told() {
            let most = match random.u8(..8) {
                0..4 => FRAME_BYTES,
                4..6 => FRAME_BYTES * self.tx.depth(),
                6 => FRAME_BYTES * self.tx.depth() * 4,
                _ => FRAME_BYTES * 4,
            };
            let len = random.usize(LEN_MIN..=most);
            match self.send(len, Deadline::after(SLICE), is_early) {
                Ok(_) => progress.made(),
                Err(TransportError::Send(SendError::Timeout { blocked_on })) => {
                    unsent += 1;
                    progress.check(&format!("count={}", self.number), &blocked_on)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(format!("count={} unsent={unsent}", self.number))
    }
}

impl Seen {
    /// Called before the message is released.
    fn see(&mut self, kind: u8, first: Sequence, bytes: &[u8]) {
        match identify(kind, bytes) {
            Ok((writer, number)) => {
                let record = Record::by(writer, number as Sequence, (number as Sequence, 1));
                self.sightings.write_down(first, &record);
                self.count += 1;
            }
            Err(fault) => self.fault = Some(fault),
        }
    }
}

impl<B> Receiver<B> {
    /// Receives once: one message, or all that are available.
    fn take(&mut self, how: How, deadline: Deadline) -> Result<(), RecvError> {
        let seen = &mut self.seen;
        match how {
            How::Leases => {
                let message = self.rx.recv(deadline)?;
                let (meta, kind) = (message.meta(), message.kind());
                if seen.sightings.are_late() {
                    let bytes = message.to_vec();
                    drop(message);
                    std::thread::sleep(WRONG_PAUSE);
                    seen.see(kind, meta.first_sequence, &bytes);
                } else {
                    seen.see(kind, meta.first_sequence, &message);
                }
            }
            How::Buffer => {
                self.rx
                    .recv_leased(&mut self.buffer, deadline, |meta, bytes| {
                        seen.see(meta.kind, meta.first_sequence, bytes);
                    })?;
            }
            How::Vectors => {
                let (meta, bytes) = self.rx.recv_owned_with_meta(deadline)?;
                seen.see(meta.kind, meta.first_sequence, &bytes);
            }
            How::Batches => {
                let count = self
                    .rx
                    .process_available_messages_with_meta(|meta, bytes| {
                        seen.see(meta.kind, meta.first_sequence, bytes);
                    })?;
                if count == 0 {
                    // waits for a message, and leaves it for the next batch
                    self.rx.recv(deadline)?.release_uncommitted();
                }
            }
        }
        Ok(())
    }

    /// The messages that have come so far, or the fault in one of them.
    fn tally(&self, end: &str) -> Answer {
        let received = self.rx.received();
        let tally = format!(
            "end={end} count={} truncated={} malformed={} orphans={}",
            self.seen.count, received.truncated, received.malformed, received.orphans
        );
        match &self.seen.fault {
            None if received.malformed == 0 => Ok(tally),
            fault => Err(Failure {
                kind: String::from("Wrong"),
                before: tally,
                text: fault.clone().unwrap_or_default(),
            }),
        }
    }

    /// `message-recv n=3 how=leases`
    fn recv(&mut self, words: &Words<'_>) -> Answer {
        let wanted = self.seen.count + words.number("n") as u64;
        while self.seen.count < wanted {
            match self.take(how(words), words.deadline()) {
                Ok(()) => {}
                Err(error) => return self.tally(&kind_of(&error)),
            }
        }
        self.tally("Enough")
    }

    /// `message-follow how=leases`: receives through every death of a producer, until the ring is closed and
    /// drained or the next line arrives.
    fn follow(&mut self, words: &Words<'_>) -> Answer {
        reply(&Ok(String::from("following")));
        let mut progress = Progress::new(words);
        let mut count = 0;
        while !is_told() {
            match self.take(how(words), Deadline::after(SLICE)) {
                Ok(()) => {}
                Err(RecvError::Closed) => return self.tally("Closed"),
                Err(waits @ (RecvError::Timeout | RecvError::ProducerDead { .. })) => {
                    progress.check(&format!("count={count}"), &waits.to_string())?;
                }
                Err(error) => return Err(error.into()),
            }
            if self.seen.fault.is_some() {
                break;
            }
            if core::mem::replace(&mut count, self.seen.count) < self.seen.count {
                progress.made();
            }
        }
        self.tally("Told")
    }
}

fn how(words: &Words<'_>) -> How {
    let word = words.word("how");
    let found = How::ALL.into_iter().find(|how| how.word() == word);
    found.unwrap_or_else(|| panic!("no such how: {word}"))
}
