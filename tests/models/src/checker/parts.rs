//! States and their storage: each different part of a state is stored once, and a state as the numbers of its
//! parts. A search of millions of states then takes a few dozen bytes for each.

use core::fmt::Debug;
use core::hash::Hash;

use arrayvec::ArrayVec;
use indexmap::IndexSet;
use rustc_hash::FxBuildHasher;

use super::cpu::Buffer;
use super::{Life, Memory};

/// How many processes a model may have.
const PROCESSES: usize = 5;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Running<L> {
    pub(super) local: L,
    pub(super) life: Life,
    pub(super) buffer: Buffer,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct State<L, W> {
    pub(super) memory: Memory,
    pub(super) world: W,
    pub(super) deaths: u8,
    pub(super) running: ArrayVec<Running<L>, PROCESSES>,
}

/// A stored state: the number of each of its parts, which many states share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Packed {
    pub(super) memory: u32,
    pub(super) world: u32,
    pub(super) running: [u32; PROCESSES],
}

pub(super) type Set<T> = IndexSet<T, FxBuildHasher>;

/// All parts of the states that have been seen.
pub(super) struct Parts<L, W> {
    memories: Set<Memory>,
    /// Each world together with the number of deaths.
    worlds: Set<(W, u8)>,
    pub(super) running: Set<Running<L>>,
}

impl<L: Copy + Eq + Hash, W: Copy + Eq + Hash> Parts<L, W> {
    pub(super) fn new() -> Self {
        Self {
            memories: Set::default(),
            worlds: Set::default(),
            running: Set::default(),
        }
    }

    pub(super) fn pack(&mut self, state: &State<L, W>) -> Packed {
        let mut running = [0; PROCESSES];
        for (place, process) in running.iter_mut().zip(&state.running) {
            *place = number(&mut self.running, process);
        }
        Packed {
            memory: number(&mut self.memories, &state.memory),
            world: number(&mut self.worlds, &(state.world, state.deaths)),
            running,
        }
    }

    /// Like [`pack`](Self::pack), for a state that differs little from one whose parts are known.
    pub(super) fn pack_next(
        &mut self,
        state: &State<L, W>,
        from: &State<L, W>,
        known: Packed,
    ) -> Packed {
        let mut packed = known;
        if state.memory != from.memory {
            packed.memory = number(&mut self.memories, &state.memory);
        }
        if state.world != from.world || state.deaths != from.deaths {
            packed.world = number(&mut self.worlds, &(state.world, state.deaths));
        }
        let pairs = state.running.iter().zip(&from.running);
        for (place, (process, old)) in packed.running.iter_mut().zip(pairs) {
            if process != old {
                *place = number(&mut self.running, process);
            }
        }
        packed
    }

    pub(super) fn unpack(&self, packed: Packed, processes: usize) -> State<L, W> {
        let (world, deaths) = self.worlds[packed.world as usize];
        let running = packed.running[..processes].iter();
        State {
            memory: self.memories[packed.memory as usize],
            world,
            deaths,
            running: running
                .map(|at| self.running[*at as usize].clone())
                .collect(),
        }
    }
}

/// The number of a part, which is added if it is new.
fn number<T: Clone + Eq + Hash>(parts: &mut Set<T>, part: &T) -> u32 {
    let known = parts.get_index_of(part);
    known.unwrap_or_else(|| parts.insert_full(part.clone()).0) as u32
}
