//! One round of a storm: the ring's life, the kills and stops, and the ring's end.

use super::cast::{Account, Cast, Follower, Part, stop};
use super::{Cargo, Wrong, delay, pass};
use crate::checker::Summary;
use crate::{Actor, World};

/// Totals of a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Processes killed.
    pub kills: u64,
    /// Processes stopped.
    pub stops: u64,
    /// Takeovers that two candidates raced for.
    pub races: u64,
    /// Durable consumers removed.
    pub removals: u64,
    /// How many rings were closed or kept and then continued.
    pub continuations: u64,
    /// What the judge counted.
    pub judged: Summary,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.kills += other.kills;
        self.stops += other.stops;
        self.races += other.races;
        self.removals += other.removals;
        self.continuations += other.continuations;
        self.judged += other.judged;
    }
}

/// Actions in a round; most are one kill or stop, some are two.
const DEEDS: usize = 16;

/// Plays the round of this seed with actors of `program`.
///
/// # Errors
///
/// The faults that the judge found.
///
/// # Panics
///
/// When a process answers with an unexpected error, or not in time.
pub fn play(program: &str, cargo: Cargo, seed: u64, wrong: Wrong) -> Result<Count, String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let world = match random.bool() {
        true => World::shared_memory(program),
        false => World::mapped_file(program),
    };
    let capacity = [1, 2, 8, 64][random.usize(..4)];
    let strategy = ["yield", "sleep", "block"][random.usize(..3)];
    let mut round = Round::new(Cast::new(&world, cargo, capacity, strategy, wrong), random);
    for _ in 0..DEEDS {
        round.deed();
    }
    if wrong == Wrong::Hang {
        return round.hang();
    }
    round.end()
}

struct Round<'a> {
    cast: Cast<'a>,
    random: fastrand::Rng,
    producer: Actor,
    followers: Vec<Follower>,
    count: Count,
}

impl<'a> Round<'a> {
    fn new(mut cast: Cast<'a>, random: fastrand::Rng) -> Self {
        let mut producer = cast.actor();
        producer.ok(&cast.produce());
        let mut round = Self {
            cast,
            random,
            producer,
            followers: Vec::new(),
            count: Count::default(),
        };
        for part in round.cast.parts() {
            round.attach(part);
        }
        round.pour();
        round
    }

    fn pour(&mut self) {
        let line = self.cast.pour(self.random.u64(..));
        self.producer.ok(&line);
    }

    /// Ends the producer's long call with this line.
    fn interrupt(&mut self, line: &str) {
        self.producer.tell(&self.cast.cargo.verb(line));
        self.producer.expect_ok();
    }

    /// Starts a consumer until it follows the stream. Some are killed on the way and started again.
    fn attach(&mut self, part: Part) {
        let mut follower = self.cast.consume(part);
        while self.random.u8(..8) == 0 {
            pass(delay(&mut self.random));
            follower = self.kill_follower(follower);
        }
        self.cast.follow(&mut follower);
        self.followers.push(follower);
    }

    /// Kills a consumer, and returns the one that was told to take its place.
    fn kill_follower(&mut self, mut follower: Follower) -> Follower {
        follower.actor.kill();
        self.count.kills += 1;
        if follower.part.id.is_none() {
            self.cast.close_account(follower.account);
        }
        self.cast.consume(follower.part)
    }

    /// Takes one action, chosen at random.
    fn deed(&mut self) {
        pass(delay(&mut self.random));
        match (self.random.u8(..16), self.cast.cargo) {
            (0..5, _) => self.kill_producer(),
            (5..8, _) => self.kill_consumer(),
            (8, _) => self.kill_both(),
            (9..11, _) => self.stop_producer(),
            (11..13, _) => self.stop_consumer(),
            // the judge of messages knows no reader that comes later, and a producer of messages only closes
            (_, Cargo::Messages) => self.kill_consumer(),
            (13, _) => self.remove_consumer(),
            (14, _) => self.guest_goes(),
            _ => self.keep(),
        }
    }

    fn kill_producer(&mut self) {
        self.producer.kill();
        self.count.kills += 1;
        self.succeed();
    }

    /// Has a successor take over from the dead producer. Candidates before it may die in the attempt, and two may race.
    fn succeed(&mut self) {
        while self.random.u8(..4) == 0 {
            let mut candidate = self.cast.actor();
            candidate.tell(&self.cast.produce());
            pass(delay(&mut self.random));
            candidate.kill();
            self.count.kills += 1;
        }
        let mut candidate = self.cast.actor();
        candidate.tell(&self.cast.produce());
        self.producer = match self.random.u8(..4) {
            0 => self.race(candidate),
            _ => {
                candidate.expect_ok();
                candidate
            }
        };
        self.pour();
    }

    /// Starts a second candidate. Exactly one of the two takes over.
    fn race(&mut self, mut one: Actor) -> Actor {
        let mut two = self.cast.actor();
        two.tell(&self.cast.produce());
        let answers = [one.answer(), two.answer()];
        let kinds = answers.each_ref().map(|answer| answer.kind());
        let (winner, loser) = match kinds {
            [None, Some("AlreadyExists")] => (one, two),
            [Some("AlreadyExists"), None] => (two, one),
            _ => panic!("two candidates: {answers:?}"),
        };
        self.count.races += 1;
        self.cast.dismiss(loser);
        winner
    }

    fn take_follower(&mut self) -> Follower {
        let index = self.random.usize(..self.followers.len());
        self.followers.swap_remove(index)
    }

    /// Kills a consumer, and lets the ring go on without it for a while.
    fn kill_consumer(&mut self) {
        let mut follower = self.take_follower();
        follower.actor.kill();
        self.count.kills += 1;
        if follower.part.id.is_none() {
            self.cast.close_account(follower.account);
        }
        pass(delay(&mut self.random));
        self.attach(follower.part);
    }

    /// Kills a consumer and the producer at the same time.
    fn kill_both(&mut self) {
        let mut follower = self.take_follower();
        follower.actor.kill();
        self.producer.kill();
        self.count.kills += 2;
        if follower.part.id.is_none() {
            self.cast.close_account(follower.account);
        }
        match self.random.bool() {
            true => {
                self.succeed();
                self.attach(follower.part);
            }
            false => {
                self.attach(follower.part);
                self.succeed();
            }
        }
    }

    /// Stops the producer. It is alive, so no candidate takes its place. Then it continues, or is killed where it is.
    fn stop_producer(&mut self) {
        stop(&self.producer);
        self.count.stops += 1;
        if self.random.bool() {
            let mut candidate = self.cast.actor();
            let line = self.cast.produce();
            candidate.err("AlreadyExists", &line);
            self.cast.dismiss(candidate);
        }
        pass(delay(&mut self.random));
        match self.random.u8(..3) {
            0 => self.kill_producer(),
            _ => self.producer.resume(),
        }
    }

    /// Stops a consumer; the ring waits for it. Then it continues, or is killed where it is.
    fn stop_consumer(&mut self) {
        let mut follower = self.take_follower();
        stop(&follower.actor);
        self.count.stops += 1;
        pass(delay(&mut self.random));
        if self.random.u8(..3) == 0 {
            // the producer may die in the meantime, too
            self.kill_producer();
        }
        match self.random.u8(..3) {
            0 => {
                let part = follower.part;
                follower.actor.kill();
                self.count.kills += 1;
                if part.id.is_none() {
                    self.cast.close_account(follower.account);
                }
                self.attach(part);
            }
            _ => {
                follower.actor.resume();
                self.followers.push(follower);
            }
        }
    }

    /// Kills a durable consumer and has the producer remove it. Then it joins anew.
    fn remove_consumer(&mut self) {
        let mut follower = self.take_follower();
        follower.actor.kill();
        self.count.kills += 1;
        self.cast.close_account(follower.account);
        if let Some(id) = follower.part.id {
            pass(delay(&mut self.random));
            self.interrupt(&format!("remove id={id}"));
            self.producer.expect_ok();
            self.count.removals += 1;
            self.pour();
        }
        self.attach(follower.part);
    }

    /// Lets the automatic consumer leave in good order, and starts another one.
    fn guest_goes(&mut self) {
        let guest = self
            .followers
            .iter()
            .position(|one| one.part == Part::GUEST);
        let mut guest = self.followers.swap_remove(guest.expect("a guest"));
        guest.actor.tell("leave");
        guest.actor.expect_ok();
        guest.actor.expect_ok();
        self.cast.close_account(guest.account);
        self.cast.dismiss(guest.actor);
        pass(delay(&mut self.random));
        self.attach(Part::GUEST);
    }

    /// Closes the ring but keeps its name. Every consumer drains it, and the next producer continues.
    fn keep(&mut self) {
        self.interrupt("keep");
        self.producer.expect_ok();
        for guest in self.see_the_end() {
            // a new automatic consumer is started afterwards
            self.cast.close_account(guest);
        }
        self.count.continuations += 1;
        let line = self.cast.produce();
        self.producer.ok(&line);
        for part in self.cast.parts() {
            self.attach(part);
        }
        self.pour();
    }

    /// Waits until every consumer has drained the closed ring and dropped its handle. Returns the accounts of
    /// the automatic ones.
    fn see_the_end(&mut self) -> Vec<Account> {
        let mut guests = Vec::new();
        for mut follower in std::mem::take(&mut self.followers) {
            let end = follower.actor.expect_ok();
            assert_eq!(end.word("end"), "Closed", "{}", end.text());
            follower.actor.ok(&self.cast.cargo.verb("drop-rx"));
            if follower.part.id.is_none() {
                guests.push(follower.account);
            }
            self.cast.dismiss(follower.actor);
        }
        guests
    }

    /// Ends the ring in one of its ways, lets every consumer drain it, and judges the ledgers.
    fn end(mut self) -> Result<Count, String> {
        // every process is running again
        pass(delay(&mut self.random));
        match (self.random.u8(..4), self.cast.cargo) {
            (0, Cargo::Events) => self.interrupt("destroy"),
            (1, Cargo::Events) => {
                self.keep();
                self.interrupt("close");
            }
            _ => self.interrupt("close"),
        }
        self.producer.expect_ok();
        self.see_the_end();
        self.count.judged = self.cast.judge()?;
        match self.count.judged.events {
            0 => Err(String::from("nothing was ever published")),
            _ => Ok(self.count),
        }
    }

    /// A control: the leasing consumer is stopped for good, and the producer reports that it is blocked.
    fn hang(mut self) -> Result<Count, String> {
        let leaser = self
            .followers
            .iter()
            .position(|one| one.part == Part::LEASER);
        let mut leaser = self.followers.swap_remove(leaser.expect("a leaser"));
        stop(&leaser.actor);
        let answer = self.producer.answer();
        leaser.actor.kill();
        self.interrupt("destroy");
        Err(answer.text().to_owned())
    }
}
