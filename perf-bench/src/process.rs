//! The second process: a [`crate::child`] that lives for the whole run.
//!
//! A round itself is started and timed through shared memory. When the peer dies, the driver's waits end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::arena::{Arena, Role};
use crate::child::{self, Child};
use crate::clock::Clock;
use crate::fault::Round;
use crate::scenario::{self, Endpoint, Failure};
use crate::spec::Spec;
use crate::usage::Usage;
use crate::watch;

/// The driver's orders.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Open the peer's end of a cell.
    Open { cell: usize, spec: Spec },
    /// Run a round of a cell.
    Run { cell: usize, round: Round },
    /// Close the ends, in the order of opening.
    Close,
}

/// The peer's answer to an order.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// Whether the peer received exactly the messages that were sent.
    pub(crate) is_right: bool,
    /// What the round took from the system.
    pub(crate) usage: Usage,
    /// The latencies that this end measured, in ns.
    pub(crate) took_ns: Vec<u64>,
}

/// The driver's handle of the second process; dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Peer(Child<Order, Answer>);

impl Peer {
    /// Starts the process with the arena's descriptor and its core.
    pub(crate) fn start(arena: &Arena, core: Option<usize>) -> Result<Self, Failure> {
        let child = Child::start("peer", arena, core)?;
        watch::set_peer(child.id());
        Ok(Self(child))
    }

    /// See [`Child::order`].
    pub(crate) fn order(&mut self, order: &Order) -> Result<(), Failure> {
        self.0.order(order)
    }

    /// See [`Child::answer`].
    pub(crate) fn answer(&mut self) -> Result<Answer, Failure> {
        self.0.answer()
    }

    /// See [`Child::ask`].
    pub(crate) fn ask(&mut self, order: &Order) -> Result<Answer, Failure> {
        self.0.ask(order)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        watch::set_peer(0);
    }
}

/// Starts one of the receivers of broadcasts: as the second process, but its death is noticed only when it is asked.
pub(crate) fn start_receiver(arena: &Arena) -> Result<Child<Order, Answer>, Failure> {
    Child::start("peer", arena, None)
}

/// The main function of the second process.
pub(crate) fn serve(descriptor: i32, core: Option<usize>) -> Result<(), Failure> {
    child::settle(core)?;
    let mut arena = Arena::inherit(descriptor)?;
    let clock = Clock::calibrate();
    let mut cells = Cells::new();
    child::obey_all(|order| obey(order, &mut arena, &clock, &mut cells))
}

/// The ends that this process has opened, by the numbers of their cells.
type Cells = BTreeMap<usize, Box<dyn Endpoint>>;

fn obey(
    order: Order,
    arena: &mut Arena,
    clock: &Clock,
    cells: &mut Cells,
) -> Result<Answer, Failure> {
    let mut answer = Answer::default();
    match order {
        Order::Open { cell, spec } => {
            cells.insert(cell, scenario::open(&spec, Role::Peer)?);
        }
        Order::Run { cell, round } => {
            let cell = cells.get_mut(&cell).ok_or("no such cell")?;
            let before = Usage::read();
            let outcome = cell.run(arena, clock, round);
            answer.usage = Usage::read() - before;
            answer.is_right = outcome.is_right();
            answer.took_ns = outcome.took_ns;
        }
        Order::Close => {
            for (_, cell) in std::mem::take(cells) {
                cell.close()?;
            }
        }
    }
    Ok(answer)
}
