//! How many endpoints share a ring, for the choice between spinning and sleeping.

use std::iter::Sum;

use crate::layout::control::Control;
use crate::os::{cpu, process};
use crate::protocol::registered::registered;

/// The endpoints that share a ring, or the rings of a set. Not one of them is asked for the cores that it may use:
/// each can have cores of its own, and these can change at any moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Participants {
    all: usize,
    /// Those that share this process's quota of processor time, as far as the quota is small enough to matter.
    within_quota: usize,
}

impl Participants {
    /// The producer, the registered consumers, and `more` endpoints of this process that have no line.
    pub(crate) fn of(control: &Control, more: usize) -> Self {
        Self::count(control, more, cpu::quota(), process::own_namespace())
    }

    /// A container has a quota and a PID namespace of its own. The lines tell the namespaces of their owners.
    fn count(control: &Control, more: usize, quota: usize, namespace: u64) -> Self {
        let all = 1 + registered(control).count() + more;
        let within_quota = if all <= quota || namespace == 0 {
            all
        } else {
            let producer = control.producer.owner.load();
            let owners = registered(control).map(|line| line.owner.load());
            let here = owners
                .chain([producer])
                .filter(|owner| owner.namespace == namespace);
            here.count() + more
        };
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

impl Sum for Participants {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        let none = Self {
            all: 0,
            within_quota: 0,
        };
        parts.fold(none, |sum, part| Self {
            all: sum.all + part.all,
            within_quota: sum.within_quota + part.within_quota,
        })
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

    #[test]
    fn endpoints_of_other_containers_have_quotas_of_their_own() {
        let memory = create_on_heap::<u64>(8, 0, false).expect("a ring");
        let segment = open_on_heap::<u64>(&memory, 8);
        let control = segment.control();
        let owner = |namespace| Owner {
            namespace,
            ..Owner::NOBODY
        };
        control.producer.owner.store(owner(7));
        for (line, namespace) in control.consumers.iter().zip([7, 8]) {
            line.owner.store(owner(namespace));
            line.set_state(LineState::Active);
        }
        control.registered.bits.store(0b11, Ordering::Relaxed);
        let count = |more, quota, namespace| {
            let counted = Participants::count(control, more, quota, namespace);
            (counted.all, counted.within_quota)
        };
        assert_eq!(count(0, 1, 7), (3, 2));
        assert_eq!(count(0, 1, 8), (3, 1));
        assert_eq!(count(1, 1, 8), (4, 2), "an observer has no line");
        assert_eq!(count(0, 1, 0), (3, 3), "unknown");
        assert_eq!(count(0, 3, 8), (3, 3), "the quota is large enough for all");
    }
}
