//! One case of the sweep, and its name.

use std::fmt;

use super::table::Row;

/// What happens at the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// SIGKILL.
    Kill,
    /// SIGSTOP, and SIGCONT when the others have shown what they can do meanwhile.
    Stop,
    /// 20 ms, while the others go on.
    Delay,
}

/// Where the ring is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// In `/dev/shm`.
    SharedMemory,
    /// In a mapped file.
    MappedFile,
}

/// How a control's actor is wrong on purpose: the judge must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The consumer releases an event before it writes it down.
    LateLedger,
    /// The consumer leaves an event out.
    SkippedEvent,
    /// The producer publishes other events than it intended.
    OtherPayload,
    /// Sleepers do not look up before somebody wakes them.
    NeverLooksUp,
}

/// One case.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The point, the role and its scenario.
    pub row: Row,
    /// Where the ring is.
    pub backing: Backing,
    /// How many events are published and unread, or half published, when the point is reached.
    pub in_flight: i64,
    /// At which occurrence of the point, from 1.
    pub nth: i64,
    /// What happens there.
    pub action: Action,
    /// For controls alone.
    pub flaw: Option<Flaw>,
}

impl Case {
    /// What arms the point.
    pub(crate) fn arming(&self) -> String {
        let action = match self.action {
            Action::Kill => "kill",
            Action::Stop => "stop",
            Action::Delay => "delay",
        };
        format!("{}:{}:{action}", self.row.point, self.nth)
    }
}

/// `shm/2/takeover.cleared_one@2/successor/kill`
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backing = match self.backing {
            Backing::SharedMemory => "shm",
            Backing::MappedFile => "mmap",
        };
        write!(f, "{backing}/{}/{}", self.in_flight, self.row.point)?;
        if self.nth > 1 {
            write!(f, "@{}", self.nth)?;
        }
        let action = match self.action {
            Action::Kill => "kill",
            Action::Stop => "stop",
            Action::Delay => "delay",
        };
        write!(f, "/{}/{action}", self.row.role)
    }
}
