//! The search: breadth first, every state once, with a shortest way to each; then, from every state, whether an
//! end can be reached.

use std::time::Instant;

use super::cpu::Buffer;
use super::parts::{Packed, Parts, Running, Set, State};
use super::{Cpu, End, Failure, Flow, Halt, Life, Model, Outcome};

type StateOf<M> = State<<M as Model>::Local, <M as Model>::World>;

/// An event that may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// A store of a process reaches memory.
    Arrive(u8, u8),
    /// A process takes a step with this choice.
    Run(u8, u8),
    Kill(u8),
    Reap(u8),
}

struct Search<'m, M: Model> {
    model: &'m M,
    names: Vec<&'static str>,
    begin: Vec<M::Local>,
    parts: Parts<M::Local, M::World>,
    states: Set<Packed>,
    /// The state and the action by which each state was first reached.
    from: Vec<(u32, Action)>,
    /// Every action that is not a kill, as (to, from).
    edges: Vec<(u32, u32)>,
    ends: Vec<u32>,
}

/// Searches every state that the model can reach.
pub(crate) fn explore<M: Model>(model: &M) -> Outcome {
    let started = Instant::now();
    let mut search = Search::new(model);
    let failure = search.run().err();
    Outcome {
        states: search.states.len(),
        ends: search.ends.len(),
        took: started.elapsed(),
        failure,
    }
}

impl<'m, M: Model> Search<'m, M> {
    fn new(model: &'m M) -> Self {
        let (names, begin): (Vec<_>, Vec<_>) = model.processes().into_iter().unzip();
        let running = begin.iter().map(|local| Running {
            local: *local,
            life: Life::Alive,
            buffer: Buffer::default(),
        });
        let first = State {
            memory: model.memory(),
            world: model.world(),
            deaths: 0,
            running: running.collect(),
        };
        let mut parts = Parts::new();
        let mut states = Set::default();
        states.insert(parts.pack(&first));
        Self {
            model,
            names,
            begin,
            parts,
            states,
            from: vec![(0, Action::Kill(0))],
            edges: Vec::new(),
            ends: Vec::new(),
        }
    }

    fn state(&self, at: usize) -> StateOf<M> {
        self.parts.unpack(self.states[at], self.begin.len())
    }

    fn run(&mut self) -> Result<(), Failure> {
        let mut at = 0;
        while at < self.states.len() {
            if self.states.len() > self.model.limit() {
                return Err(self.failure("the state limit was reached".into(), at, None));
            }
            self.expand(at)?;
            at += 1;
        }
        match self.no_way_out() {
            None => Ok(()),
            Some(at) => Err(self.failure("no way to an end".into(), at, None)),
        }
    }

    /// Finds every state that may follow this one.
    fn expand(&mut self, at: usize) -> Result<(), Failure> {
        let state = self.state(at);
        let mut is_end = true;
        for (who, process) in state.running.iter().enumerate() {
            let id = who as u8;
            for place in process.buffer.arriving(self.model.order()) {
                is_end &= !self.follow(at, &state, Action::Arrive(id, place as u8))?.0;
            }
            match process.life {
                Life::Dying if process.buffer.is_empty() => {
                    is_end &= !self.follow(at, &state, Action::Reap(id))?.0;
                }
                Life::Alive => {
                    let (mut choice, mut choices) = (0, 1);
                    while choice < choices {
                        let (moves, of) = self.follow(at, &state, Action::Run(id, choice))?;
                        is_end &= !moves;
                        choices = of;
                        choice += 1;
                    }
                    let mortal = self.model.is_mortal(who, &process.local);
                    if mortal && state.deaths < self.model.deaths() {
                        self.follow(at, &state, Action::Kill(id))?;
                    }
                }
                Life::Dying | Life::Ended | Life::Dead => {}
            }
        }
        if is_end {
            self.ends.push(at as u32);
            self.check_end(&state)
                .map_err(|what| self.failure(what, at, None))?;
        }
        Ok(())
    }

    /// Takes one action. Returns whether it leads to another state, and how many choices it had.
    fn follow(
        &mut self,
        at: usize,
        state: &StateOf<M>,
        action: Action,
    ) -> Result<(bool, u8), Failure> {
        let mut next = state.clone();
        let (happened, choices) = self.apply(&mut next, action, None);
        match happened {
            Err(Halt::Waits) => return Ok((false, choices)),
            Err(Halt::Broken(what)) => return Err(self.failure(what, at, Some(action))),
            Ok(()) if next == *state => return Ok((false, choices)),
            Ok(()) => {}
        }
        let packed = self.parts.pack_next(&next, state, self.states[at]);
        let (to, is_new) = self.states.insert_full(packed);
        if is_new {
            self.from.push((at as u32, action));
        }
        if !matches!(action, Action::Kill(_)) {
            self.edges.push((to as u32, at as u32));
        }
        Ok((true, choices))
    }

    fn apply(
        &self,
        state: &mut StateOf<M>,
        action: Action,
        log: Option<&mut Vec<String>>,
    ) -> (Result<(), Halt>, u8) {
        let State {
            memory,
            world,
            deaths,
            running,
        } = state;
        match action {
            Action::Arrive(who, place) => {
                let buffer = &mut running[usize::from(who)].buffer;
                let (address, value) = buffer.arrive(usize::from(place), memory);
                if let Some(log) = log {
                    log.push(format!("{} is {value} in memory", self.model.word(address)));
                }
            }
            Action::Kill(who) => {
                *deaths += 1;
                let process = &mut running[usize::from(who)];
                process.life = Life::Dying;
                // the dead process's variables are no longer used, so states that differ only in them become one
                process.local = self.begin[usize::from(who)];
            }
            Action::Reap(who) => {
                running[usize::from(who)].life = Life::Dead;
                self.model.reap(usize::from(who), world);
            }
            Action::Run(who, choice) => {
                let busy = running
                    .iter()
                    .enumerate()
                    .map(|(i, process)| u8::from(!process.buffer.is_empty()) << i)
                    .sum();
                let process = &mut running[usize::from(who)];
                let mut cpu = Cpu {
                    me: usize::from(who),
                    world,
                    deaths: *deaths,
                    memory,
                    buffer: &mut process.buffer,
                    busy,
                    order: self.model.order(),
                    choice,
                    choices: 1,
                    operations: 0,
                    log,
                    names: &|address| self.model.word(address),
                };
                let step = self.model.step(&mut process.local, &mut cpu);
                let choices = cpu.choices;
                if step == Ok(Flow::Ends) {
                    process.life = Life::Ended;
                }
                return (step.map(|_| ()), choices);
            }
        }
        (Ok(()), 1)
    }

    fn check_end(&self, state: &StateOf<M>) -> Result<(), String> {
        let stuck = |process: &&Running<_>| !matches!(process.life, Life::Ended | Life::Dead);
        if let Some(at) = state.running.iter().position(|process| stuck(&process)) {
            let local = &state.running[at].local;
            return Err(format!(
                "stuck: {} waits for ever at {}",
                self.names[at],
                self.model.at(local)
            ));
        }
        self.model.check_end(&End {
            memory: &state.memory,
            world: &state.world,
            deaths: state.deaths,
        })
    }

    /// A state from which no end can be reached without killing a process.
    fn no_way_out(&self) -> Option<usize> {
        let count = self.states.len();
        let mut start = vec![0_u32; count + 2];
        for (to, _) in &self.edges {
            start[*to as usize + 2] += 1;
        }
        for i in 2..start.len() {
            start[i] += start[i - 1];
        }
        let mut before = vec![0_u32; self.edges.len()];
        for (to, from) in &self.edges {
            let place = &mut start[*to as usize + 1];
            before[*place as usize] = *from;
            *place += 1;
        }
        let mut ends = vec![false; count];
        let mut todo = self.ends.clone();
        for at in &todo {
            ends[*at as usize] = true;
        }
        while let Some(at) = todo.pop() {
            let (from, to) = (start[at as usize], start[at as usize + 1]);
            for earlier in &before[from as usize..to as usize] {
                if !core::mem::replace(&mut ends[*earlier as usize], true) {
                    todo.push(*earlier);
                }
            }
        }
        ends.iter().position(|ends| !ends)
    }

    /// Repeats the way to a state, and records what happens.
    fn failure(&self, what: String, mut at: usize, last: Option<Action>) -> Failure {
        let mut way: Vec<Action> = last.into_iter().collect();
        while at != 0 {
            let (before, action) = self.from[at];
            way.push(action);
            at = before as usize;
        }
        let mut state = self.state(0);
        let mut trace = Vec::new();
        for (number, action) in way.iter().rev().enumerate() {
            let mut log = Vec::new();
            let before = state.clone();
            let _ = self.apply(&mut state, *action, Some(&mut log));
            let (who, did) = match *action {
                Action::Arrive(who, _) => (who, "  store arrives: ".into()),
                Action::Kill(who) => (who, String::from("IS KILLED")),
                Action::Reap(who) => (who, String::from("is reaped: its locks fall")),
                Action::Run(who, _) => {
                    let before = &before.running[usize::from(who)].local;
                    (who, format!("{}: ", self.model.at(before)))
                }
            };
            let name = self.names[usize::from(who)];
            trace.push(format!("{number:3} {name:<12} {did}{}", log.join(", ")));
        }
        Failure { what, trace }
    }
}
