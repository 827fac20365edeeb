//! How many endpoints share a ring, for the choice between spinning and sleeping.

use crate::layout::control::{Control, LineState, NOTHING_WANTED};
use crate::os::{cpu, process};
use crate::protocol::registered::{registered, registered_at};
use crate::sync::Ordering;

/// The endpoints that share a ring, or the rings of a set, and may want a core. Not one of them is asked for the cores
/// that it may use: each can have cores of its own, and these can change at any moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Participants {
    all: usize,
    /// Those that share this process's quota of processor time, as far as the quota is small enough to matter.
    within_quota: usize,
}

/// What the caller is in a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Producer,
    /// The consumer of this line.
    Consumer(usize),
    /// An endpoint without a line.
    Observer,
}

/// How much runs at once.
#[derive(Clone, Copy, Debug)]
struct Machine {
    cores: usize,
    quota: usize,
    namespace: u64,
}

impl Participants {
    /// The endpoints of these rings. The caller, which has this role in each of them, counts once.
    pub(crate) fn of<'a>(rings: impl Iterator<Item = (&'a Control, Role)> + Clone) -> Self {
        let machine = Machine {
            cores: cpu::online_cpus(),
            quota: cpu::quota(),
            namespace: process::own_namespace(),
        };
        Self::count(rings, machine)
    }

    /// Reads the lines only if more endpoints are registered than can run.
    #[inline]
    fn count<'a>(
        rings: impl Iterator<Item = (&'a Control, Role)> + Clone,
        machine: Machine,
    ) -> Self {
        let registered = rings.clone().map(|(control, role)| match role {
            Role::Producer => registered(control).count(),
            // the producer instead of the caller's line
            Role::Consumer(_) => registered(control).count().max(1),
            Role::Observer => 1 + registered(control).count(),
        });
        let all = 1 + registered.sum::<usize>();
        if all <= machine.cores.min(machine.quota) {
            let within_quota = all;
            return Self { all, within_quota };
        }
        Self::count_awake(rings, machine)
    }

    /// Leaves out endpoints that sleep or are away, as they need no core: most workers of a session sleep while one is
    /// called. All producers of one process count as one, because most programs run them on one thread. If that counts
    /// too few, some calls spin in vain, until `Spinning` stops them.
    ///
    /// A container has a quota and a PID namespace of its own. The lines tell the namespaces of their owners.
    #[cold]
    fn count_awake<'a>(
        rings: impl Iterator<Item = (&'a Control, Role)> + Clone,
        machine: Machine,
    ) -> Self {
        let is_here = |namespace| namespace == machine.namespace || machine.namespace == 0;
        let (mut all, mut within_quota) = (1, 1);
        for (index, (control, role)) in rings.clone().enumerate() {
            let sleepers = control.waiters.sleepers.load(Ordering::Relaxed);
            let awake = registered_at(control)
                .filter(|(line, _)| Role::Consumer(*line) != role && sleepers & (1 << line) == 0);
            for (_, line) in awake.filter(|(_, line)| line.state() != LineState::Away) {
                all += 1;
                within_quota += usize::from(is_here(line.owner.load().namespace));
            }
            let sleeps = control.waiters.space_wanted.load(Ordering::Relaxed) != NOTHING_WANTED;
            if role != Role::Producer && !sleeps {
                let producer = control.producer.owner.load();
                let mut before = rings.clone().take(index);
                if !before.any(|(ring, _)| ring.producer.owner.load() == producer) {
                    all += 1;
                    within_quota += usize::from(is_here(producer.namespace));
                }
            }
            if all > machine.cores {
                break;
            }
        }
        Self { all, within_quota }
    }

    /// Whether each of them can have a core, and the quota of processor time keeps this process's own ones busy.
    pub(crate) fn can_all_run(self) -> bool {
        self.all <= cpu::online_cpus() && self.within_quota <= cpu::quota()
    }

    /// Whether they outnumber the machine's cores.
    pub(crate) fn outnumber_cores(self) -> bool {
        self.all > cpu::online_cpus()
    }
}

#[cfg(test)]
impl Participants {
    /// This many, all in this process.
    pub(crate) fn here(all: usize) -> Self {
        Self {
            all,
            within_quota: all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::control::{LineState, Owner};
    use crate::segment::{create_on_heap, open_on_heap};
    use crate::sync::Ordering;

    /// A ring with the lines of owners of these namespaces, and a producer of the namespace 7.
    fn with_ring(namespaces: &[u64], test: impl FnOnce(&Control)) {
        let memory = create_on_heap::<u64>(8, 0, false).expect("a ring");
        let segment = open_on_heap::<u64>(&memory, 8);
        let control = segment.control();
        let owner = |namespace| Owner {
            namespace,
            ..Owner::NOBODY
        };
        control.producer.owner.store(owner(7));
        for (line, namespace) in control.consumers.iter().zip(namespaces) {
            line.owner.store(owner(*namespace));
            line.set_state(LineState::Active);
        }
        let bits = (1_u64 << namespaces.len()) - 1;
        control.registered.bits.store(bits, Ordering::Relaxed);
        test(control);
    }

    fn counted(
        rings: &[(&Control, Role)],
        cores: usize,
        quota: usize,
        namespace: u64,
    ) -> [usize; 2] {
        let machine = Machine {
            cores,
            quota,
            namespace,
        };
        let counted = Participants::count(rings.iter().copied(), machine);
        [counted.all, counted.within_quota]
    }

    #[test]
    fn endpoints_of_other_containers_have_quotas_of_their_own() {
        with_ring(&[7, 8], |ring| {
            let producer = [(ring, Role::Producer)];
            assert_eq!(counted(&producer, 8, 1, 7), [3, 2]);
            assert_eq!(counted(&producer, 8, 1, 0), [3, 3], "unknown");
            assert_eq!(counted(&producer, 8, 3, 8), [3, 3], "enough for all");
            let consumer = [(ring, Role::Consumer(1))];
            assert_eq!(counted(&consumer, 8, 1, 8), [3, 1]);
            let observer = [(ring, Role::Observer)];
            assert_eq!(counted(&observer, 8, 1, 8), [4, 2], "it has no line");
        });
    }

    #[test]
    fn whoever_sleeps_or_is_away_needs_no_core() {
        with_ring(&[7; 5], |ring| {
            let last = [(ring, Role::Consumer(4))];
            assert_eq!(counted(&last, 4, 9, 7), [6, 6], "all are awake");
            ring.waiters.sleepers.store(0b10011, Ordering::Relaxed);
            assert_eq!(
                counted(&last, 4, 9, 7),
                [4, 4],
                "its own bit may be an old one"
            );
            ring.consumers[2].set_state(LineState::Away);
            assert_eq!(counted(&last, 4, 9, 7), [3, 3]);
            ring.waiters.space_wanted.store(1, Ordering::Relaxed);
            assert_eq!(counted(&last, 4, 9, 7), [2, 2]);
            ring.waiters
                .space_wanted
                .store(NOTHING_WANTED, Ordering::Relaxed);
            assert_eq!(counted(&last, 9, 9, 7), [6, 6], "there is a core for each");
        });
    }

    #[test]
    fn the_producers_of_one_process_and_the_caller_count_once_in_a_set() {
        with_ring(&[7, 7], |ring| {
            with_ring(&[7], |other| {
                let set = [(ring, Role::Consumer(0)), (other, Role::Consumer(0))];
                assert_eq!(counted(&set, 2, 9, 7), [3, 3]);
                let mut owner = other.producer.owner.load();
                owner.pid += 1;
                other.producer.owner.store(owner);
                assert_eq!(counted(&set, 3, 9, 7), [4, 4]);
            });
        });
    }
}
