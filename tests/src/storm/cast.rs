//! The processes of a round, and the ledgers of all their lives.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Cargo, Wrong};
use crate::checker::{self, Reader, Summary};
use crate::frames::judge::{self, How};
use crate::{Actor, Entry, Ledger, World};

/// The part that a consumer plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) how: How,
    /// The consumer's id; none for an automatic one, each life of which is a consumer of its own.
    pub(super) id: Option<&'static str>,
}

impl Part {
    /// A durable consumer that receives in this way.
    const fn durable(how: How) -> Self {
        Self {
            how,
            id: Some(how.word()),
        }
    }

    /// An automatic consumer of events.
    pub(super) const GUEST: Self = Self {
        how: How::Leases,
        id: None,
    };
    /// The consumer that a planted fault concerns.
    pub(super) const LEASER: Self = Self::durable(How::Leases);
}

/// The index of a book in the cast's `books`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account(usize);

/// The ledger of one consumer. An automatic consumer has a new one in each life.
struct Book {
    ledger: String,
    part: Part,
    /// Whether the position is gone, because the consumer died with an automatic id or was removed.
    is_closed: bool,
}

/// A consumer that is running.
pub(super) struct Follower {
    pub(super) part: Part,
    pub(super) actor: Actor,
    pub(super) account: Account,
}

/// The ring, the consumers' books, and the actors without a part.
pub(super) struct Cast<'a> {
    pub(super) world: &'a World,
    pub(super) cargo: Cargo,
    pub(super) capacity: usize,
    wrong: Wrong,
    producers: Vec<String>,
    books: Vec<Book>,
    ledgers: u64,
    /// Actors that hold nothing. They are reused, because starting a process takes longer than sending a line.
    idle: Vec<Actor>,
    strategy: &'static str,
}

impl<'a> Cast<'a> {
    pub(super) fn new(
        world: &'a World,
        cargo: Cargo,
        capacity: usize,
        strategy: &'static str,
        wrong: Wrong,
    ) -> Self {
        Self {
            world,
            cargo,
            capacity,
            wrong,
            producers: Vec::new(),
            books: Vec::new(),
            ledgers: 0,
            idle: Vec::new(),
            strategy,
        }
    }

    /// The parts of all consumers.
    pub(super) fn parts(&self) -> Vec<Part> {
        match self.cargo {
            Cargo::Events => vec![Part::LEASER, Part::durable(How::Batches), Part::GUEST],
            Cargo::Messages => How::ALL.map(Part::durable).to_vec(),
        }
    }

    /// An actor without a part.
    pub(super) fn actor(&mut self) -> Actor {
        self.idle.pop().unwrap_or_else(|| self.world.actor())
    }

    /// Takes back an actor that has dropped its handles.
    pub(super) fn dismiss(&mut self, actor: Actor) {
        self.idle.push(actor);
    }

    fn new_ledger(&mut self) -> String {
        self.ledgers += 1;
        self.ledgers.to_string()
    }

    /// The line that makes an actor the producer, or a candidate.
    pub(super) fn produce(&mut self) -> String {
        let ledger = self.new_ledger();
        let path = self.world.ledger(&ledger).display().to_string();
        self.producers.push(ledger);
        format!(
            "{} cap={} writer={} strategy={} log={path}",
            self.cargo.verb("produce"),
            self.capacity,
            self.ledgers,
            self.strategy
        )
    }

    /// The line that makes the producer publish until the next line arrives.
    pub(super) fn pour(&self, seed: u64) -> String {
        let (max, wrong) = (self.capacity.min(16), self.wrong.pouring());
        let verb = self.cargo.verb("pour");
        format!("{verb} max={max} seed={} {wrong}", seed >> 1)
    }

    /// Tells an actor to attach as a consumer, at its old position if it has one. Does not wait for the answer.
    pub(super) fn consume(&mut self, part: Part) -> Follower {
        let known = self
            .books
            .iter()
            .rposition(|book| book.part == part && !book.is_closed);
        let index = known.unwrap_or_else(|| {
            let ledger = self.new_ledger();
            self.books.push(Book {
                ledger,
                part,
                is_closed: false,
            });
            self.books.len() - 1
        });
        let path = self.world.ledger(&self.books[index].ledger);
        let id = part.id.map_or_else(String::new, |id| format!("id={id}"));
        let mut actor = self.actor();
        let wrong = match part {
            Part::LEASER => self.wrong.consuming(),
            _ => "",
        };
        actor.tell(&format!(
            "{} cap={} strategy={} {id} log={} {wrong}",
            self.cargo.verb("consume"),
            self.capacity,
            self.strategy,
            path.display()
        ));
        Follower {
            part,
            actor,
            account: Account(index),
        }
    }

    /// Makes a consumer that was told to attach follow the stream until the next line arrives.
    pub(super) fn follow(&self, follower: &mut Follower) {
        follower.actor.expect_ok();
        let (verb, how) = (self.cargo.verb("follow"), follower.part.how.word());
        follower.actor.ok(&format!("{verb} how={how}"));
    }

    /// Records that the consumer's position is gone, and the events that it has not seen with it.
    pub(super) fn close_account(&mut self, account: Account) {
        self.books[account.0].is_closed = true;
    }

    /// Judges the ledgers of the ring.
    pub(super) fn judge(&self) -> Result<Summary, String> {
        let read = |name: &String| Ledger::read(&self.world.ledger(name));
        let producers: Vec<_> = self.producers.iter().map(read).collect();
        let name = |book: &Book| format!("{:?} ({})", book.part, book.ledger);
        if self.cargo == Cargo::Messages {
            let readers = self.books.iter().map(|book| judge::Reader {
                name: name(book),
                how: book.part.how,
                entries: read(&book.ledger),
            });
            let readers: Vec<_> = readers.collect();
            return judge::judge(self.capacity, &producers, &readers);
        }
        let readers: Vec<_> = self
            .books
            .iter()
            .map(|book| Reader {
                name: name(book),
                entries: entries_of(read(&book.ledger), book.is_closed),
                redelivery: match book.part.how {
                    How::Batches => (self.capacity as i64 / 8).max(1),
                    _ => 1,
                },
                unwritten: 0,
            })
            .collect();
        checker::check(&producers, &readers).map_err(|faults| {
            let some: Vec<_> = faults.iter().take(5).cloned().collect();
            format!("{} faults: {}", faults.len(), some.join("; "))
        })
    }
}

impl Drop for Cast<'_> {
    /// The actors hold nothing, and killing them is quicker than letting them exit.
    fn drop(&mut self) {
        for actor in &mut self.idle {
            actor.kill();
        }
    }
}

fn entries_of(mut entries: Vec<Entry>, is_closed: bool) -> Vec<Entry> {
    if is_closed {
        entries.push(Entry::Left);
    }
    entries
}

/// Sends SIGSTOP without waiting until it takes effect.
pub(super) fn stop(actor: &Actor) {
    kill(Pid::from_raw(actor.pid() as i32), Signal::SIGSTOP).expect("signal");
}
