//! The scenarios, and the faults that are injected at each system call.

use std::fmt;

/// A scenario: a verb of `src/bin/faults`.
#[derive(Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Its name.
    pub verb: &'static str,
    /// The verb of the process that dies before it, if any.
    pub prepare: Option<&'static str>,
    /// The verb of the clean process that comes afterwards.
    pub after: &'static str,
}

const fn of_events(verb: &'static str) -> Scenario {
    Scenario {
        verb,
        prepare: None,
        after: "after-events",
    }
}

/// All scenarios.
pub const SCENARIOS: [Scenario; 14] = [
    of_events("create"),
    // the file system has no nameless files
    of_events("temporary"),
    Scenario {
        prepare: Some("prepare-replace"),
        ..of_events("replace")
    },
    of_events("attach"),
    of_events("publish"),
    of_events("receive"),
    Scenario {
        prepare: Some("prepare-takeover"),
        ..of_events("takeover")
    },
    of_events("names"),
    of_events("observers"),
    of_events("counters"),
    of_events("threads"),
    of_events("waiting"),
    Scenario {
        after: "after-frames",
        ..of_events("frames")
    },
    Scenario {
        after: "after-session",
        ..of_events("sessions")
    },
];

/// The fault that is injected at a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The call is not made, and returns this error.
    Fail(&'static str),
    /// The process is killed at the call.
    Kill,
    /// A signal arrives as the call begins.
    Interrupt,
    /// The call begins late.
    DelayBefore,
    /// The call returns late.
    DelayAfter,
}

impl Act {
    /// The fault in strace's syntax.
    pub(super) fn injection(self) -> String {
        match self {
            Self::Fail(error) => format!("error={error}"),
            Self::Kill => "signal=SIGKILL".into(),
            Self::Interrupt => "signal=SIGUSR1".into(),
            // longer than two liveness intervals
            Self::DelayBefore => "delay_enter=25000".into(),
            Self::DelayAfter => "delay_exit=25000".into(),
        }
    }

    /// The text in strace's log that shows that the fault was injected.
    pub(super) fn mark(self) -> &'static str {
        match self {
            Self::Fail(_) => "(INJECTED)",
            Self::Kill => "killed by SIGKILL",
            Self::Interrupt => "SIGUSR1",
            Self::DelayBefore | Self::DelayAfter => "(DELAYED)",
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fail(error) => error,
            Self::Kill => "kill",
            Self::Interrupt => "interrupt",
            Self::DelayBefore => "delay-before",
            Self::DelayAfter => "delay-after",
        })
    }
}

/// Every fault that is injected at this system call.
pub fn acts_at(call: &str) -> impl Iterator<Item = Act> {
    let others = [Act::Kill, Act::Interrupt, Act::DelayBefore, Act::DelayAfter];
    errors_of(call)
        .iter()
        .map(|error| Act::Fail(error))
        .chain(others)
}

/// The errors that are injected at a system call: those that its manual page names and a healthy program may meet.
fn errors_of(call: &str) -> &'static [&'static str] {
    match call {
        "openat" | "open" => &[
            "ENOENT",
            "EACCES",
            "EMFILE",
            "ENOSPC",
            "EINTR",
            "EOPNOTSUPP",
            "EISDIR",
            "ENOMEM",
            "EIO",
        ],
        "linkat" | "link" => &[
            "EEXIST", "ENOENT", "EPERM", "ENOSPC", "EMLINK", "EXDEV", "EIO",
        ],
        "unlink" | "unlinkat" => &["ENOENT", "EPERM", "EACCES", "EBUSY", "EROFS", "EIO"],
        "ftruncate" => &["EINTR", "EPERM", "EFBIG", "ENOSPC", "EIO"],
        "fallocate" => &["EINTR", "ENOSPC", "EOPNOTSUPP", "ENOSYS", "EFBIG", "EIO"],
        "fcntl" => &["EAGAIN", "EACCES", "EINTR", "ENOLCK", "EINVAL"],
        "mmap" => &["ENOMEM", "EAGAIN", "EACCES", "EPERM", "ENODEV"],
        "munmap" | "mremap" | "brk" => &["ENOMEM", "EINVAL"],
        "mprotect" => &["ENOMEM", "EACCES"],
        "madvise" => &["EINVAL", "ENOMEM", "EAGAIN", "EPERM", "ENOSYS"],
        "mlock" | "mlock2" => &["ENOMEM", "EPERM", "EAGAIN"],
        "fstat" | "newfstatat" | "statx" | "lstat" | "stat" => {
            &["ENOENT", "EACCES", "ENOMEM", "EOVERFLOW", "ENOSYS", "EIO"]
        }
        "fstatfs" | "statfs" => &["EINTR", "ENOMEM", "ENOSYS", "EIO"],
        "lseek" => &["EINVAL", "ESPIPE", "EOVERFLOW"],
        "fchmod" => &["EPERM", "EROFS", "EIO"],
        "futex" => &["EAGAIN", "EINTR", "ETIMEDOUT", "ENOSYS", "ENOMEM"],
        "read" | "pread64" | "write" | "pwrite64" => &["EINTR", "EAGAIN", "ENOSPC", "EFBIG", "EIO"],
        "getdents64" => &["ENOENT", "EINVAL", "EIO"],
        "clone" | "clone3" => &["EAGAIN", "ENOMEM", "EPERM", "ENOSYS"],
        "getrandom" => &["EINTR", "ENOSYS"],
        "eventfd2" | "timerfd_create" | "epoll_create1" => {
            &["EMFILE", "ENFILE", "ENOMEM", "ENODEV"]
        }
        "poll" | "ppoll" => &["EINTR", "ENOMEM"],
        "membarrier" => &["ENOSYS", "EINVAL", "EPERM"],
        // the standard library treats any other error as a mistake of its caller
        "clock_nanosleep" | "nanosleep" => &["EINTR"],
        "close" => &["EINTR", "EIO"],
        // these calls return no error, or do not return
        "exit" | "exit_group" | "rt_sigreturn" | "getpid" | "gettid" | "getuid" | "geteuid"
        | "sched_yield" | "restart_syscall" => &[],
        _ => &["EINVAL", "EPERM", "ENOSYS"],
    }
}
