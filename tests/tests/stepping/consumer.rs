//! The consumer as the victim: it releases an event, joins, comes back and leaves.

use myelon_tests::Actor;
use myelon_tests::stepping::{Case, Scene};
use myelon_tests::tracer::Stepped;

use crate::producer::Counted;
use crate::stage::{Stage, kill_within, position_of, require};

const STEADY: &str = "steady";
const GUEST: &str = "guest";

/// A producer and a consumer that live through all cases.
struct Company {
    tx: Actor,
    steady: Actor,
    last: i64,
}

impl Company {
    fn new(stage: &mut Stage) -> Self {
        let (mut tx, mut steady) = (stage.world.actor(), stage.world.actor());
        tx.ok(&stage.produce());
        steady.ok(&stage.consume(STEADY));
        Self {
            tx,
            steady,
            last: -1,
        }
    }

    /// Publishes `n` events. `also` is another consumer, which reads them and the number of older events that
    /// it has not read.
    fn publish(&mut self, n: i64, also: Option<(&mut Actor, i64)>) -> Result<(), String> {
        // the consumers are told first, because the ring may hold fewer than `n` events
        self.tx.tell(&format!("publish n={n}"));
        self.steady.tell(&format!("recv n={n}"));
        if let Some((other, behind)) = also {
            let due = n + behind;
            other.ok(&format!("recv n={due}")).require_count(due)?;
        }
        self.steady.expect_ok().require_count(n)?;
        self.last = self.tx.expect_ok().number("last");
        Ok(())
    }

    fn position(&mut self, id: &str) -> Option<i64> {
        position_of(&self.tx.ok("state"), id)
    }
}

/// The release of an event.
pub(crate) struct Commit {
    stage: Stage,
    company: Company,
    /// The next event of the consumer that is killed again and again.
    next: i64,
}

impl Commit {
    pub(crate) fn new(mut stage: Stage) -> Self {
        let company = Company::new(&mut stage);
        let line = stage.consume(GUEST);
        let mut first = stage.world.actor();
        let next = first.ok(&line).number("next");
        first.kill();
        Self {
            stage,
            company,
            next,
        }
    }
}

impl Scene for Commit {
    fn case(&mut self, n: u64) -> Result<Case, String> {
        let Self {
            stage,
            company,
            next,
        } = self;
        let mut victim = stage.world.actor();
        let line = format!("{} {}", stage.consume_again(GUEST), stage.wrong);
        let begins = victim.ok(&line).number("next");
        require(begins == *next, || {
            format!("it came back to {begins}, not to {next}")
        })?;
        company.publish(2, None)?;
        victim.ok(&format!("recv n={}", company.last - begins));
        let stepped = kill_within(victim, "step-commit", n)?;
        let position = company.position(GUEST).ok_or("it lost its position")?;
        let released = position - (company.last - 1);
        require(matches!(released, 0 | 1), || {
            format!("it stands at {position} of {}", company.last)
        })?;
        require(released == 1 || stepped == Stepped::Within, || {
            String::from("the call returned, but nothing was released")
        })?;
        *next = position + 1;
        stage.judge()?;
        let outcome = format!("{released} released");
        Ok(Case { stepped, outcome })
    }

    fn end(self: Box<Self>) {
        drop(self.company);
        // the ring's producer has already closed it
        self.stage.clear();
    }
}

/// How the victim comes to the ring or leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    Join,
    Rejoin,
    Leave,
}

/// A durable consumer that attaches, comes back or leaves.
pub(crate) struct Visitor {
    stage: Stage,
    company: Company,
    /// The consumer that takes the victim's place.
    second: Actor,
    visit: Visit,
}

impl Visitor {
    pub(crate) fn new(mut stage: Stage, visit: Visit) -> Self {
        let company = Company::new(&mut stage);
        let second = stage.world.actor();
        Self {
            stage,
            company,
            second,
            visit,
        }
    }

    /// Prepares the state that the victim finds, and kills the victim in its section.
    fn strike(&mut self, n: u64) -> Result<Stepped, String> {
        let (stage, company) = (&mut self.stage, &mut self.company);
        company.publish(1, None)?;
        let consume = stage.consume(GUEST);
        match self.visit {
            Visit::Join => {
                let victim = stage.world.actor_with("join.locked:1:trap");
                kill_within(victim, &unwritten(&consume), n)
            }
            Visit::Rejoin => {
                let behind = company.last + 1 - self.second.ok(&consume).number("next");
                company.publish(2, Some((&mut self.second, behind)))?;
                self.second.ok("detach");
                let victim = stage.world.actor_with("rejoin.locked:1:trap");
                kill_within(victim, &unwritten(&consume), n)
            }
            Visit::Leave => {
                let mut victim = stage.world.actor();
                let behind = company.last + 1 - victim.ok(&consume).number("next");
                company.publish(2, Some((&mut victim, behind)))?;
                let stepped = kill_within(victim, "step-leave", n)?;
                stage.judge()?;
                // the next consumer is another one for the judge, because the position was given up
                stage.consume(GUEST);
                Ok(stepped)
            }
        }
    }

    /// Another consumer takes the victim's place, sees every event from there on, and leaves.
    fn succeed(&mut self, position: Option<i64>) -> Result<(), String> {
        let (stage, company) = (&mut self.stage, &mut self.company);
        let next = self.second.ok(&stage.consume_again(GUEST)).number("next");
        require(position.is_none_or(|at| next == at + 1), || {
            format!("it came back to {next}, not after {position:?}")
        })?;
        let behind = company.last + 1 - next;
        require((0..=stage.capacity).contains(&behind), || {
            format!("it joined at {next} of {}", company.last)
        })?;
        // publishes more than the ring holds: nothing that the victim left may hold the ring
        company.publish(2 * stage.capacity, Some((&mut self.second, behind)))?;
        self.second.ok("leave");
        stage.judge()
    }
}

impl Scene for Visitor {
    fn case(&mut self, n: u64) -> Result<Case, String> {
        let stepped = self.strike(n)?;
        let position = self.company.position(GUEST);
        let is_registered = position.is_some();
        let must_be = match self.visit {
            Visit::Join => stepped != Stepped::Within,
            Visit::Rejoin => true,
            Visit::Leave => is_registered && stepped == Stepped::Within,
        };
        require(
            is_registered == must_be || stepped == Stepped::Within,
            || format!("after the call, registered is {is_registered}"),
        )?;
        require(self.visit != Visit::Rejoin || is_registered, || {
            String::from("its position is gone")
        })?;
        self.succeed(position)?;
        let outcome = match is_registered {
            true => "registered",
            false => "not registered",
        };
        Ok(Case {
            stepped,
            outcome: String::from(outcome),
        })
    }

    fn end(self: Box<Self>) {
        drop(self.company);
        drop(self.second);
        self.stage.clear();
    }
}

/// The victim's `consume` line without its ledger. The victim's section ends with the call.
fn unwritten(consume: &str) -> String {
    let (line, _) = consume.split_once(" log=").expect("a ledger");
    format!("{line} step")
}
