//! The framer: an actor that sends and receives messages over a ring of frames. Its test controls it with one
//! line of input at a time.
//!
//! It is started as `framer shm|mmap DIRECTORY NAME`, and answers as `actor` does.

use std::path::Path;
use std::time::Duration;

use disruptor_mp::{
    Deadline, DisruptorBuilder, MmapProducer, MmapTransportLayout, RecvError, SendError, Sequence,
    build_shared_single_producer,
};
use myelon::transport::{
    FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer, TransportError,
};
use myelon_tests::frames::judge::How;
use myelon_tests::frames::{FRAME_BYTES, Frame, LEN_MIN, identify, message};
use myelon_tests::{Entry, Ledger, Record};

#[path = "../actor/answers.rs"]
mod answers;
#[path = "../actor/options.rs"]
mod options;
#[path = "../actor/told.rs"]
mod told;

use answers::{Answer, Failure, kind_of, next_line, reply};
use options::Words;
use told::{Progress, SLICE, is_told};

/// A process with at most one producer and one consumer.
struct Framer<B> {
    builder: Box<dyn Fn(usize) -> DisruptorBuilder<Frame, B>>,
    tx: Option<Sender<B>>,
    rx: Option<Receiver<B>>,
}

/// A producer with a ledger.
struct Sender<B> {
    tx: FramedTransportProducer<Frame, B>,
    ledger: Ledger,
    writer: u64,
    /// The next message's number.
    number: u64,
    is_wrong: bool,
}

/// A consumer with a ledger.
struct Receiver<B> {
    rx: FramedTransportConsumer<Frame, B>,
    buffer: ReassemblyBuffer,
    sightings: Sightings,
}

/// The messages that a consumer has seen.
struct Sightings {
    ledger: Ledger,
    count: u64,
    /// A description of the first fault in a message.
    fault: Option<String>,
    is_late: bool,
}

fn main() {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).expect("prctl");
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [backend, directory, name] = &words[..] else {
        panic!("framer shm|mmap DIRECTORY NAME");
    };
    let name = name.clone();
    if backend == "shm" {
        Framer::run(move |capacity| build_shared_single_producer(&name, capacity));
    } else {
        let layout = MmapTransportLayout::new(directory, name);
        Framer::run(move |capacity| MmapProducer::builder(&layout, capacity));
    }
}

impl<B> Framer<B> {
    fn run(builder: impl Fn(usize) -> DisruptorBuilder<Frame, B> + 'static) {
        let mut framer = Self {
            builder: Box::new(builder),
            tx: None,
            rx: None,
        };
        while let Some(line) = next_line() {
            reply(&framer.answer(&Words::parse(&line)));
        }
    }

    fn answer(&mut self, words: &Words<'_>) -> Answer {
        match words.verb {
            "produce" => self.produce(words),
            "consume" => self.consume(words),
            "send" => self.tx.as_mut().expect("a producer").send_all(words),
            "pour" => self.tx.as_mut().expect("a producer").pour(words),
            "recv" => self.rx.as_mut().expect("a consumer").recv(words),
            "follow" => self.rx.as_mut().expect("a consumer").follow(words),
            "close" => {
                let tx = self.tx.take().expect("a producer").tx;
                Ok(tx.close().map(|_| String::new())?)
            }
            "drop-rx" => {
                self.rx = None;
                Ok(String::new())
            }
            #[cfg(debug_assertions)]
            "arm" => {
                disruptor_mp::arm_fail_points(words.word("at"));
                Ok(String::new())
            }
            #[cfg(debug_assertions)]
            "fired" => Ok(format!("fired={}", disruptor_mp::fail_points_fired())),
            other => panic!("no such verb: {other}"),
        }
    }

    fn produce(&mut self, words: &Words<'_>) -> Answer {
        let builder = options::for_producer((self.builder)(words.number("cap") as usize), words);
        let tx = FramedTransportProducer::from_builder(builder)?;
        let next = tx.last_published_sequence() + 1;
        let writer = words.number("writer") as u64;
        let mut ledger = Ledger::append_to(Path::new(words.word("log")));
        ledger.enter(&Entry::Began { writer, next });
        self.tx = Some(Sender {
            tx,
            ledger,
            writer,
            number: 0,
            is_wrong: words.get("wrong").is_some(),
        });
        Ok(format!("next={next}"))
    }

    fn consume(&mut self, words: &Words<'_>) -> Answer {
        let builder = options::for_consumer((self.builder)(words.number("cap") as usize), words);
        let mut rx = FramedTransportConsumer::from_builder(builder)?;
        let next = rx.ring().current_sequence() + 1;
        let mut ledger = Ledger::append_to(Path::new(words.word("log")));
        ledger.enter(&Entry::Attached { next });
        self.rx = Some(Receiver {
            rx,
            buffer: ReassemblyBuffer::new(),
            sightings: Sightings {
                ledger,
                count: 0,
                fault: None,
                is_late: words.get("wrong").is_some(),
            },
        });
        Ok(format!("next={next}"))
    }
}

impl<B> Sender<B> {
    /// Sends the next message, and writes down the result.
    fn send(&mut self, len: usize, deadline: Deadline) -> Result<Sequence, TransportError> {
        let (writer, number) = (self.writer, self.number);
        let first = number as Sequence;
        let len_word = len as u64;
        self.number += 1;
        self.ledger.enter(&Entry::Intends {
            writer,
            first,
            len: len_word,
        });
        if self.is_wrong {
            // a control: acknowledged before it is sent
            self.ledger.enter(&Entry::Published {
                writer,
                last: first,
            });
            std::thread::sleep(Duration::from_micros(500));
        }
        let last = self
            .tx
            .send(&message(writer, number, len), number as u8, deadline)?;
        if !self.is_wrong {
            self.ledger.enter(&Entry::Published {
                writer,
                last: first,
            });
        }
        Ok(last)
    }

    /// `send n=3 len=100`
    fn send_all(&mut self, words: &Words<'_>) -> Answer {
        let mut last = -1;
        for _ in 0..words.number_or("n", 1) {
            last = self.send(words.number("len") as usize, words.deadline())?;
        }
        Ok(format!("last={last}"))
    }

    /// `pour seed=1`: sends messages of all sizes until the next line arrives. Now and then it gives up a message.
    fn pour(&mut self, words: &Words<'_>) -> Answer {
        reply(&Ok(String::from("pouring")));
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
            match self.send(len, Deadline::after(SLICE)) {
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

impl Sightings {
    /// Called before the message is released.
    fn see(&mut self, kind: u8, first: Sequence, bytes: &[u8]) {
        match identify(kind, bytes) {
            Ok((writer, number)) => {
                let record = Record::by(writer, number as Sequence, (number as Sequence, 1));
                let sequence = first;
                self.ledger.enter(&Entry::Saw { sequence, record });
                self.count += 1;
            }
            Err(fault) => self.fault = Some(fault),
        }
    }
}

impl<B> Receiver<B> {
    /// Receives once: one message, or all that are available.
    fn take(&mut self, how: How, deadline: Deadline) -> Result<(), RecvError> {
        let sightings = &mut self.sightings;
        match how {
            How::Leases => {
                let message = self.rx.recv(deadline)?;
                let (meta, kind) = (message.meta(), message.kind());
                if sightings.is_late {
                    let bytes = message.to_vec();
                    drop(message);
                    std::thread::sleep(Duration::from_micros(500));
                    sightings.see(kind, meta.first_sequence, &bytes);
                } else {
                    sightings.see(kind, meta.first_sequence, &message);
                }
            }
            How::Buffer => {
                self.rx
                    .recv_leased(&mut self.buffer, deadline, |meta, bytes| {
                        sightings.see(meta.kind, meta.first_sequence, bytes);
                    })?;
            }
            How::Vectors => {
                let (meta, bytes) = self.rx.recv_owned_with_meta(deadline)?;
                sightings.see(meta.kind, meta.first_sequence, &bytes);
            }
            How::Batches => {
                let count = self
                    .rx
                    .process_available_messages_with_meta(|meta, bytes| {
                        sightings.see(meta.kind, meta.first_sequence, bytes);
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
            self.sightings.count, received.truncated, received.malformed, received.orphans
        );
        match &self.sightings.fault {
            None if received.malformed == 0 => Ok(tally),
            fault => Err(Failure {
                kind: String::from("Wrong"),
                before: tally,
                text: fault.clone().unwrap_or_default(),
            }),
        }
    }

    /// `recv n=3 how=leases`
    fn recv(&mut self, words: &Words<'_>) -> Answer {
        let wanted = self.sightings.count + words.number("n") as u64;
        while self.sightings.count < wanted {
            match self.take(how(words), words.deadline()) {
                Ok(()) => {}
                Err(error) => return self.tally(&kind_of(&error)),
            }
        }
        self.tally("Enough")
    }

    /// `follow how=leases`: receives through every death of a producer, until the ring is closed and drained or
    /// the next line arrives.
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
            if self.sightings.fault.is_some() {
                break;
            }
            if core::mem::replace(&mut count, self.sightings.count) < self.sightings.count {
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
