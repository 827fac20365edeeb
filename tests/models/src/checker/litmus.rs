//! Tests of the checker itself on textbook cases: outcomes that it must find, outcomes that it must not find,
//! and each kind of failure.

use super::*;

/// The next operation of a process in a litmus test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Do {
    Store(Address, Word),
    Release(Address, Word),
    Fence,
    Load(Address),
    /// Waits until the word has this value.
    Await(Address, Word),
    /// Goes back to the start.
    Again,
    /// Waits until the first process's lock is free.
    Sleep,
    /// Releases the lock.
    Unlock,
}

struct Litmus {
    programs: Vec<Vec<Do>>,
    order: Order,
    mortal: bool,
    limit: usize,
    /// The values that the processes must not have loaded together.
    forbidden: Vec<Word>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct At(usize);

impl Model for Litmus {
    type Local = At;
    /// The last value that each process has loaded, and a lock that the first process holds from the start.
    type World = ([Word; 2], Lock);

    fn processes(&self) -> Vec<Process<At>> {
        let names = ["first", "second"];
        names
            .into_iter()
            .zip(self.programs.iter())
            .map(|(name, _)| (name, At(0)))
            .collect()
    }
    fn memory(&self) -> Memory {
        Memory::default()
    }
    fn world(&self) -> Self::World {
        ([0; 2], Lock::held_by(0))
    }
    fn word(&self, address: Address) -> String {
        ["x", "y"][usize::from(address)].into()
    }
    fn limit(&self) -> usize {
        self.limit
    }
    fn order(&self) -> Order {
        self.order
    }
    fn deaths(&self) -> u8 {
        1
    }
    fn is_mortal(&self, who: usize, _: &At) -> bool {
        self.mortal && who == 0
    }
    fn reap(&self, who: usize, world: &mut Self::World) {
        world.1.unlock(who);
    }
    fn step(&self, at: &mut At, cpu: &mut Cpu<'_, Self::World>) -> Step {
        let program = &self.programs[cpu.me];
        match program.get(at.0) {
            None => return Ok(Flow::Ends),
            Some(Do::Store(address, value)) => cpu.store(*address, *value)?,
            Some(Do::Release(address, value)) => cpu.store_release(*address, *value)?,
            Some(Do::Fence) => cpu.fence()?,
            Some(Do::Load(address)) => cpu.world.0[cpu.me] = cpu.load(*address),
            Some(Do::Await(address, value)) if cpu.load(*address) != *value => {
                return Ok(Flow::Goes);
            }
            Some(Do::Await(..)) => {}
            Some(Do::Unlock) => {
                let me = cpu.me;
                cpu.system("unlocks")?.1.unlock(me);
            }
            Some(Do::Sleep) if !cpu.world.1.is_free() => return Err(Halt::Waits),
            Some(Do::Sleep) => {}
            Some(Do::Again) => {
                *at = At(0);
                return Ok(Flow::Goes);
            }
        }
        at.0 += 1;
        Ok(Flow::Goes)
    }
    fn check_end(&self, end: &End<'_, Self>) -> Result<(), String> {
        match end.world.0.as_slice() == self.forbidden {
            true => Err(format!("loaded {:?}", self.forbidden)),
            false => Ok(()),
        }
    }
}

const X: Address = 0;
const Y: Address = 1;

fn litmus(order: Order, forbidden: &[Word], programs: &[&[Do]]) -> Outcome {
    explore(&Litmus {
        programs: programs.iter().map(|program| program.to_vec()).collect(),
        order,
        mortal: false,
        limit: 1000,
        forbidden: forbidden.to_vec(),
    })
}

fn says(outcome: &Outcome, what: &str) -> bool {
    outcome
        .failure
        .as_ref()
        .is_some_and(|failure| failure.what.contains(what))
}

#[test]
fn a_load_overtakes_an_earlier_store_without_a_fence() {
    let run = |first: &[Do], second: &[Do]| litmus(Order::Total, &[0, 0], &[first, second]);
    let plain = run(
        &[Do::Store(X, 1), Do::Load(Y)],
        &[Do::Store(Y, 1), Do::Load(X)],
    );
    assert!(says(&plain, "loaded [0, 0]"), "{plain:?}");
    let one = run(
        &[Do::Store(X, 1), Do::Fence, Do::Load(Y)],
        &[Do::Store(Y, 1), Do::Load(X)],
    );
    assert!(says(&one, "loaded [0, 0]"), "{one:?}");
    let both = run(
        &[Do::Store(X, 1), Do::Fence, Do::Load(Y)],
        &[Do::Store(Y, 1), Do::Fence, Do::Load(X)],
    );
    assert!(both.failure.is_none() && both.ends > 1, "{both:?}");
}

#[test]
fn a_process_sees_its_own_store_first() {
    let own = litmus(Order::Total, &[0, 0], &[&[Do::Store(X, 1), Do::Load(X)]]);
    assert!(own.failure.is_none(), "{own:?}");
}

#[test]
fn stores_overtake_each_other_only_where_the_order_is_per_word() {
    let reader: &[Do] = &[Do::Await(Y, 1), Do::Load(X)];
    let plain: &[Do] = &[Do::Store(X, 1), Do::Store(Y, 1)];
    let release: &[Do] = &[Do::Store(X, 1), Do::Release(Y, 1)];
    assert!(
        litmus(Order::Total, &[0, 0], &[plain, reader])
            .failure
            .is_none()
    );
    assert!(says(
        &litmus(Order::PerWord, &[0, 0], &[plain, reader]),
        "loaded"
    ));
    assert!(
        litmus(Order::PerWord, &[0, 0], &[release, reader])
            .failure
            .is_none()
    );
}

#[test]
fn a_wait_without_an_end_is_found() {
    let asleep = litmus(Order::Total, &[], &[&[], &[Do::Sleep]]);
    assert!(says(&asleep, "stuck: second"), "{asleep:?}");
    let circling = litmus(
        Order::Total,
        &[],
        &[&[], &[Do::Load(X), Do::Load(Y), Do::Again]],
    );
    assert!(says(&circling, "no way to an end"), "{circling:?}");
}

/// The first process holds a lock, stores twice, and releases the lock only by its death.
fn dying(forbidden: &[Word], limit: usize) -> Outcome {
    let first = vec![Do::Store(X, 1), Do::Store(Y, 1)];
    let second = vec![Do::Sleep, Do::Load(Y)];
    explore(&Litmus {
        programs: vec![first, second],
        order: Order::Total,
        mortal: true,
        limit,
        forbidden: forbidden.to_vec(),
    })
}

#[test]
fn a_death_is_no_way_to_an_end() {
    // the second process waits for a lock that only a death releases
    let outcome = dying(&[], 1000);
    assert!(says(&outcome, "stuck: second"), "{outcome:?}");
}

#[test]
fn the_stores_of_the_dead_arrive_before_their_locks_fall() {
    let seen = |forbidden: &[Word]| {
        explore(&Litmus {
            programs: vec![
                vec![Do::Store(X, 1), Do::Store(Y, 1), Do::Load(X), Do::Unlock],
                vec![Do::Sleep, Do::Load(Y)],
            ],
            order: Order::Total,
            mortal: true,
            limit: 1000,
            forbidden: forbidden.to_vec(),
        })
    };
    // killed before its stores, after them, and after the load that shows that it has made them
    for possible in [[0, 0], [0, 1], [1, 1]] {
        assert!(says(&seen(&possible), "loaded"), "{possible:?}");
    }
    let never = seen(&[1, 0]);
    assert!(never.failure.is_none(), "{never:?}");
}

#[test]
fn too_many_states_are_a_failure() {
    assert!(says(&dying(&[], 3), "the state limit"));
}

#[test]
fn a_trace_is_the_shortest_and_names_words() {
    let plain: &[Do] = &[Do::Store(X, 1), Do::Store(Y, 1)];
    let outcome = litmus(
        Order::PerWord,
        &[0, 0],
        &[plain, &[Do::Await(Y, 1), Do::Load(X)]],
    );
    let trace = outcome.failure.expect("a failure").trace;
    assert!(
        trace.iter().any(|line| line.contains("y is 1 in memory")),
        "{trace:#?}"
    );
    let arrives = trace
        .iter()
        .position(|line| line.contains("y is 1"))
        .expect("y");
    let last = trace
        .iter()
        .position(|line| line.contains("x = 0"))
        .expect("x");
    assert!(arrives < last, "{trace:#?}");
}
