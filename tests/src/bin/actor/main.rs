//! The actor: a process that plays producer or consumer. Its test controls it with one line of input at a time.
//!
//! It is started as `actor shm|mmap DIRECTORY NAME`. Each line of input is a verb and `key=value` words, and is
//! answered with one line, `ok …` or `err Kind … | text`. At the end of its input the actor drops its handles
//! and exits.

use std::time::Duration;

use disruptor_mp::{
    AutoConsumer, AutoWaitStrategy, Consumer, CountersFile, Deadline, DisruptorBuilder,
    MmapTransportLayout, Observer, Producer,
};
use myelon::transport::RingPlace;
use myelon_tests::kinds::kind_of;
use myelon_tests::{Record, Tally};

mod answers;
mod books;
mod cancelling;
mod descriptors;
mod fork;
mod held_back;
mod hot;
mod many;
mod messages;
mod moving;
mod observing;
mod options;
mod priorities;
mod refused;
mod sessions;
mod signals;
mod spaced;
mod stepping;
mod storm;
mod system;
mod told;

use answers::{Answer, Failure, next_line, reply};
use books::{Books, Sightings};
use many::Waits;
use messages::Messages;
use options::Words;
use sessions::Sessions;

/// A process with at most one producer, one consumer and one observer of events, and one producer and one consumer of
/// messages.
struct Actor<B> {
    builder: Box<dyn Fn(usize) -> DisruptorBuilder<Record, B> + Sync>,
    directory: String,
    tx: Option<Producer<Record, B>>,
    rx: Option<Consumer<Record, B>>,
    observer: Option<Observer<Record, B>>,
    books: Books,
    sightings: Sightings,
    strangers: Option<descriptors::Strangers>,
    handler: Option<AutoConsumer>,
    messages: Messages<B>,
    name: String,
    sessions: Sessions,
}

fn main() {
    system::die_with_parent();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [backend, directory, name] = &words[..] else {
        panic!("actor shm|mmap DIRECTORY NAME");
    };
    let (directory, name) = (directory.clone(), name.clone());
    if backend == "shm" {
        Actor::at(name.clone(), name, directory).run();
    } else {
        let layout = MmapTransportLayout::new(&directory, &name);
        Actor::at(layout, name, directory).run();
    }
}

impl<B: 'static> Actor<B> {
    fn at<P: Clone + Sync + 'static>(place: P, name: String, directory: String) -> Self
    where
        for<'a> &'a P: RingPlace<B>,
    {
        let of_messages = place.clone();
        Self {
            builder: Box::new(move |capacity| place.builder(capacity)),
            messages: Messages::new(move |depth| of_messages.builder(depth)),
            directory,
            tx: None,
            rx: None,
            observer: None,
            books: Books::default(),
            sightings: Sightings::default(),
            strangers: None,
            handler: None,
            name,
            sessions: Sessions::default(),
        }
    }

    fn run(mut self) {
        while let Some(line) = next_line() {
            let words = Words::parse(&line);
            reply(&self.answer(&words));
        }
    }

    fn answer(&mut self, words: &Words<'_>) -> Answer {
        if let Some(verb) = words.verb.strip_prefix("message-") {
            return self.messages.answer(verb, words);
        }
        if let Some(verb) = words.verb.strip_prefix("session-") {
            return self.sessions.answer(verb, &self.name, words);
        }
        match words.verb {
            "produce" => self.produce(words),
            "consume" => self.consume(words),
            "observe" => self.observe(words),
            "watch" => {
                let observer = self.observer.as_mut().expect("an observer");
                observing::watch(observer, &mut self.sightings, words)
            }
            "see" => observing::see(self.observer.as_mut().expect("an observer"), words),
            "cancel-observer" => {
                observing::cancel((self.builder)(words.number("cap") as usize), words)
            }
            "publish" | "fill" | "send" | "batch" | "close" | "keep" | "destroy" | "drop-tx"
            | "remove" | "blocked" | "count" | "wait-consumed" => self.as_producer(words),
            "recv" | "recv-copies" | "recv-batches" | "recv-held" | "drain" | "lease"
            | "detach" | "leave" | "drop-rx" | "lag" => self.as_consumer(words),
            "state" => self.state(),
            "send-spaced" => spaced::send(self.tx(), words),
            "take-spaced" => spaced::take(self.rx(), words),
            "use-spaced" => spaced::take_slots(self.tx(), words),
            "release-spaced" => spaced::release(self.rx(), words),
            "await-id" => spaced::await_id(self.tx(), words),
            "require" => spaced::require(self.tx(), words),
            "cpu" => spaced::cpu(),
            "pour" => storm::pour(
                self.tx.as_mut().expect("a producer"),
                &mut self.books,
                words,
            ),
            "follow" => {
                let rx = self.rx.as_mut().expect("a consumer");
                storm::follow(rx, &mut self.sightings, words)
            }
            "step-send" | "step-batch" => {
                let tx = self.tx.as_mut().expect("a producer");
                stepping::publish(tx, &mut self.books, words)
            }
            "step-commit" => {
                let rx = self.rx.as_mut().expect("a consumer");
                stepping::commit(rx, &mut self.sightings, words)
            }
            "step-leave" => {
                self.sightings.leave();
                stepping::end(self.rx.take().expect("a consumer"), Consumer::leave)
            }
            "step-close" => stepping::end(self.tx.take().expect("a producer"), |tx| {
                tx.close().map(drop)
            }),
            "fork-use" => fork::use_in_child(self.tx.take(), self.rx.take(), |tx, rx| {
                (self.tx, self.rx) = (tx, rx);
            }),
            "fork-ask" => fork::ask_in_child(&mut self.tx, &mut self.rx, words.word("what")),
            "fork-stay" => fork::child_that_stays(),
            "fork-attach" => fork::attach_in_child(&self.builder),
            "fork-cancel" => cancelling::in_children(&self.builder, words),
            "cancel-by-signal" => cancelling::by_signal(&self.builder, words),
            "forbid" => refused::forbid(words),
            "limit" => refused::limit(words),
            "lock-all" => refused::lock_all(),
            "fill-maps" => refused::fill_maps(),
            "read-only" => refused::mount_read_only(&self.directory),
            "no-shared-memory" => refused::hide_shared_memory(),
            "counters" => refused::counters(words),
            "attach-counters" => {
                let file = CountersFile::create(words.word("path"))?;
                if let Some(tx) = &mut self.tx {
                    tx.attach_counters(&file)?;
                }
                if let Some(rx) = &mut self.rx {
                    rx.attach_counters(&file)?;
                }
                Ok(String::new())
            }
            "move-about" => moving::about(&self.directory),
            "close-descriptors" => {
                self.strangers = Some(descriptors::close_all(words)?);
                Ok(String::new())
            }
            "lose-messages" => {
                let (strangers, said) = descriptors::lose_messages(words)?;
                self.strangers = Some(strangers);
                Ok(said)
            }
            "lose-readiness" => descriptors::lose_readiness(),
            "handle" => {
                let builder = (self.builder)(words.number("cap") as usize);
                let handler =
                    options::for_consumer(builder, words).handle_events_with(|_, _, _| {});
                self.handler = Some(handler?);
                Ok(String::new())
            }
            "join-handler" => {
                self.handler.take().expect("a handler").join()?;
                Ok(String::new())
            }
            "strangers" => descriptors::count(self.strangers.as_mut().expect("strangers")),
            "fork-strangers" => {
                let strangers = self.strangers.as_mut().expect("strangers");
                fork::in_child(|| match descriptors::count(strangers) {
                    Ok(said) => said,
                    Err(failure) => failure.text,
                })
            }
            "under-signals" => signals::wait(&self.builder, words),
            "create-under-signals" => signals::create(&self.builder, words),
            "fifo" => priorities::run(&self.builder, words),
            "umask" => system::umask(words),
            "user" => system::become_user(words),
            "drain-as-another" => system::drain_as_another(words),
            "forbid-barrier" => system::forbid_barrier(),
            "forbid-nameless" => system::forbid_nameless(),
            "list" => system::list(&self.directory),
            "inspect" => system::inspect(&self.directory, words),
            "fill-disk" => system::fill_disk(&self.directory, words),
            "tmpfs" => system::mount_tmpfs(&self.directory, words),
            "hot-loop" => hot::run(&self.builder, words),
            "hot-messages" => hot::messages(words),
            #[cfg(debug_assertions)]
            "arm" => {
                disruptor_mp::arm_fail_points(words.word("at"));
                Ok(String::new())
            }
            #[cfg(debug_assertions)]
            "passed" => {
                let passed = disruptor_mp::fail_points_passed().into_iter();
                let words = passed.map(|(point, times)| format!("{point}={times}"));
                Ok(words.collect::<Vec<_>>().join(" "))
            }
            #[cfg(debug_assertions)]
            "fired" => Ok(format!("fired={}", disruptor_mp::fail_points_fired())),
            other => panic!("no such verb: {other}"),
        }
    }

    fn produce(&mut self, words: &Words<'_>) -> Answer {
        let builder = options::for_producer((self.builder)(words.number("cap") as usize), words);
        let tx = builder.build_producer(Record::default)?;
        stepping::after_attach(words);
        let next = tx.last_published_sequence() + 1;
        self.tx = Some(tx);
        self.books = Books::open(words, next);
        Ok(format!("next={next}"))
    }

    fn consume(&mut self, words: &Words<'_>) -> Answer {
        let builder = options::for_consumer((self.builder)(words.number("cap") as usize), words);
        let rx = builder.build_consumer()?;
        stepping::after_attach(words);
        let next = rx.current_sequence() + 1;
        let answer = format!("next={next} id={}", rx.consumer_id());
        self.rx = Some(rx);
        self.sightings = Sightings::open(words, next);
        Ok(answer)
    }

    fn observe(&mut self, words: &Words<'_>) -> Answer {
        let builder = options::for_consumer((self.builder)(words.number("cap") as usize), words);
        let observer = builder.build_observer()?;
        let next = observer.next_sequence();
        self.observer = Some(observer);
        self.sightings = Sightings::open(words, next);
        Ok(format!("next={next}"))
    }

    fn state(&mut self) -> Answer {
        let state = match (&self.tx, &self.rx) {
            (Some(tx), _) => tx.ring_state(),
            (_, Some(rx)) => rx.ring_state(),
            _ => panic!("no endpoint"),
        };
        let consumers: Vec<String> = state
            .consumers
            .iter()
            .map(|(id, sequence)| format!("{id}:{sequence}"))
            .collect();
        Ok(format!(
            "published={} floor={} epoch={} consumers={}",
            state.published,
            state.floor,
            state.epoch,
            consumers.join(",")
        ))
    }

    fn tx(&mut self) -> &mut Producer<Record, B> {
        self.tx.as_mut().expect("a producer")
    }

    fn rx(&mut self) -> &mut Consumer<Record, B> {
        self.rx.as_mut().expect("a consumer")
    }

    fn as_producer(&mut self, words: &Words<'_>) -> Answer {
        let tx = self.tx.as_mut().expect("a producer");
        let books = &mut self.books;
        match words.verb {
            "publish" => {
                let deadline = words
                    .get("ms")
                    .map_or(Deadline::NEVER, |_| words.deadline());
                for _ in 0..words.number("n") {
                    let next = tx.last_published_sequence() + 1;
                    let batch = books.intend(next, 1);
                    tx.send(deadline, |record| *record = batch.event(0))?;
                    books.acknowledge(next);
                }
            }
            "fill" => {
                let mut count = 0;
                while count < words.number_or("max", 1 << 20) {
                    let next = tx.last_published_sequence() + 1;
                    let batch = books.intend(next, 1);
                    if tx.try_publish(|record| *record = batch.event(0)).is_err() {
                        break;
                    }
                    books.acknowledge(next);
                    count += 1;
                }
                return Ok(format!(
                    "count={count} last={}",
                    tx.last_published_sequence()
                ));
            }
            "send" => {
                let next = tx.last_published_sequence() + 1;
                let batch = books.intend(next, 1);
                tx.send(words.deadline(), |record| *record = batch.event(0))?;
                books.acknowledge(next);
            }
            "batch" => {
                for _ in 0..words.number_or("times", 1) {
                    let next = tx.last_published_sequence() + 1;
                    let batch = books.intend(next, words.number("n") as u64);
                    let write = |record: &mut Record, index| *record = batch.event(index);
                    let last =
                        tx.send_batch(words.number("n") as usize, words.deadline(), write)?;
                    books.acknowledge(last);
                }
            }
            "remove" => tx.remove_consumer(words.word("id"))?,
            "blocked" => {
                let blocked = tx.blocked_on().map(|on| on.to_string());
                return Ok(blocked.unwrap_or_else(|| String::from("free")));
            }
            "count" => return Ok(format!("consumers={}", tx.get_consumer_count())),
            "wait-consumed" => {
                let patience = Duration::from_millis(words.number("ms") as u64);
                let strategy = AutoWaitStrategy::Block;
                let sequence = words.number("seq");
                let consumed = tx.wait_until_consumed_with_strategy(sequence, patience, strategy);
                return Ok(format!("consumed={consumed}"));
            }
            "close" => {
                let report = self.tx.take().expect("a producer").close()?;
                return Ok(format!("last=-1 kept={}", report.kept_for.join(",")));
            }
            "keep" => self.tx.take().expect("a producer").keep()?,
            "destroy" => self.tx.take().expect("a producer").destroy()?,
            _ => self.tx = None,
        }
        let last = self.tx.as_ref().map(Producer::last_published_sequence);
        Ok(format!("last={}", last.unwrap_or(-1)))
    }

    fn as_consumer(&mut self, words: &Words<'_>) -> Answer {
        let rx = self.rx.as_mut().expect("a consumer");
        let sightings = &mut self.sightings;
        match words.verb {
            "recv" if words.get("by") == Some("task") => {
                let tally = many::receive_as_task(&mut self.rx, words, sightings)?;
                Ok(tally.to_string())
            }
            "recv" => {
                let waits = Waits::of(rx, words)?;
                receive(rx, words, |rx, deadline, tally| {
                    waits.until_news(rx, deadline)?;
                    let lease = rx.recv(deadline)?;
                    if sightings.are_late() {
                        let (sequence, record) = (lease.sequence(), *lease);
                        lease.commit();
                        return sightings.count_in(tally, sequence, &record);
                    }
                    sightings.count_in(tally, lease.sequence(), &lease)
                })
            }
            "recv-copies" => receive(rx, words, |rx, _, tally| {
                let (sequence, record) = rx.consume_next();
                sightings.count_in(tally, sequence, &record)
            }),
            "recv-batches" => receive(rx, words, |rx, deadline, tally| {
                let mut last_flags = 0;
                let mut fault = Ok(());
                let count = rx.process_within(deadline, |record, sequence, is_last| {
                    last_flags += u32::from(is_last);
                    fault = core::mem::replace(&mut fault, Ok(()))
                        .and_then(|()| sightings.count_in(tally, sequence, record));
                })?;
                assert!(
                    count > 0 && last_flags == 1,
                    "{count} events, {last_flags} ends"
                );
                fault
            }),
            "recv-held" => {
                let tally = receive(rx, words, |rx, deadline, tally| {
                    let lease = rx.recv(deadline)?;
                    sightings.count_in(tally, lease.sequence(), &lease)?;
                    lease.hold();
                    Ok(())
                })?;
                rx.release_held(words.number("n") as usize);
                Ok(tally)
            }
            "drain" => drain(rx, words, sightings),
            "lease" => lease(rx, words, sightings),
            "lag" => Ok(format!("newest={}", rx.producer_sequence())),
            "detach" => Ok(self
                .rx
                .take()
                .expect("a consumer")
                .detach()
                .map(|()| String::new())?),
            "leave" => {
                sightings.leave();
                let rx = self.rx.take().expect("a consumer");
                Ok(rx.leave().map(|()| String::new())?)
            }
            _ => {
                self.rx = None;
                Ok(String::new())
            }
        }
    }
}

/// Receives until `n` events have come. An error is reported with the events that were received before it.
fn receive<B>(
    rx: &mut Consumer<Record, B>,
    words: &Words<'_>,
    mut step: impl FnMut(&mut Consumer<Record, B>, Deadline, &mut Tally) -> Result<(), Failure>,
) -> Answer {
    let mut tally = Tally::new();
    let pause = Duration::from_micros(words.number_or("pause_us", 0) as u64);
    while tally.count < words.number_or("n", 1) as u64 {
        step(rx, words.deadline(), &mut tally).map_err(|failure| Failure {
            before: tally.to_string(),
            ..failure
        })?;
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
    }
    Ok(tally.to_string())
}

/// Receives until an error reports that no event will come.
fn drain<B>(rx: &mut Consumer<Record, B>, words: &Words<'_>, sightings: &mut Sightings) -> Answer {
    let mut tally = Tally::new();
    loop {
        match rx.recv(words.deadline()) {
            Ok(lease) => sightings.count_in(&mut tally, lease.sequence(), &lease)?,
            Err(end) => return Ok(format!("end={} {tally} | {end}", kind_of(&end))),
        }
    }
}

/// Holds a lease while it answers further lines, until a line ends the lease.
fn lease<B>(rx: &mut Consumer<Record, B>, words: &Words<'_>, sightings: &mut Sightings) -> Answer {
    let lease = rx.recv(words.deadline())?;
    let sequence = lease.sequence();
    let record = *lease;
    sightings.count_in(&mut Tally::new(), sequence, &record)?;
    reply(&Ok(format!("sequence={sequence}")));
    while let Some(line) = next_line() {
        let is_whole = *lease == record && record.is_whole();
        match line.trim() {
            "peek" => reply(&Ok(format!("whole={is_whole}"))),
            "commit" => {
                lease.commit();
                return Ok(format!("whole={is_whole}"));
            }
            "uncommit" => {
                lease.release_uncommitted();
                return Ok(format!("whole={is_whole}"));
            }
            other => panic!("'{other}' while a lease is held"),
        }
    }
    Ok(String::from("input ended"))
}
