//! One case of the sweep, and its name.

use std::fmt;

use super::Row;
use crate::World;

/// What is done to the process at the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// SIGKILL.
    Kill,
    /// SIGSTOP; SIGCONT follows when the other processes have shown what they can do in the meantime.
    Stop,
    /// A delay of 20 ms, while the other processes continue.
    Delay,
}

impl Action {
    /// The word for it in a fail point and in the name of a case.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Delay => "delay",
        }
    }
}

/// The backing of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Shared memory in `/dev/shm`.
    SharedMemory,
    /// A mapped file.
    MappedFile,
}

impl Backing {
    /// Every backing.
    pub(crate) const ALL: [Self; 2] = [Self::SharedMemory, Self::MappedFile];

    /// The word for it in the name of a case.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::SharedMemory => "shm",
            Self::MappedFile => "mmap",
        }
    }

    /// A ring with this backing.
    pub(crate) fn world(self, program: &str) -> World {
        match self {
            Self::SharedMemory => World::shared_memory(program),
            Self::MappedFile => World::mapped_file(program),
        }
    }
}

/// A deliberate mistake of a control's actor, which the judge must report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The consumer releases an event before it writes it down.
    LateLedger,
    /// The consumer leaves an event out.
    SkippedEvent,
    /// The producer publishes other events than it intended.
    OtherPayload,
    /// Sleepers make no liveness check before they are woken.
    NeverLooksUp,
}

/// One case.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The point, the role and its scenario.
    pub row: Row,
    /// The backing of the ring.
    pub backing: Backing,
    /// How many events are published and unread, or half published, when the point is reached; over messages, the
    /// length of the message that is sent or received then, in bytes.
    pub in_flight: i64,
    /// The occurrence of the point, counted from 1.
    pub nth: i64,
    /// What is done to the process at the point.
    pub action: Action,
    /// A mistake, for controls only.
    pub flaw: Option<Flaw>,
}

impl Case {
    /// The argument that arms the point.
    pub(crate) fn arming(&self) -> String {
        format!("{}:{}:{}", self.row.point, self.nth, self.action.word())
    }
}

/// `shm/2/takeover.cleared_one@2/successor/kill`
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backing = self.backing.word();
        write!(f, "{backing}/{}/{}", self.in_flight, self.row.point)?;
        if self.nth > 1 {
            write!(f, "@{}", self.nth)?;
        }
        write!(f, "/{}/{}", self.row.role, self.action.word())
    }
}
