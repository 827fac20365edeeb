//! The steps that the system may refuse, by name: what was tried, for an error, and by which call.
//!
//! The reasons for a refusal, and the remedies, are in `cause`.

use std::io;

macro_rules! steps {
    ($($step:ident = $words:literal, $call:literal;)*) => {
        /// One request to the system.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[cfg_attr(
            not(target_os = "linux"),
            allow(dead_code, reason = "some are taken on Linux alone")
        )]
        pub(crate) enum Step {
            $(
                #[doc = $words]
                $step,
            )*
        }

        impl Step {
            /// The request and its call: the words that follow "could not".
            pub(crate) const fn words(self) -> &'static str {
                match self {
                    $(Self::$step => concat!($words, " (", $call, ")"),)*
                }
            }

            /// The call.
            pub(crate) const fn call(self) -> &'static str {
                match self {
                    $(Self::$step => $call,)*
                }
            }
        }
    };
}

steps! {
    AskFileSystem = "ask what kind of file system it lies on", "fstatfs";
    CreateDirectory = "create its directory", "mkdir";
    CreateFile = "create its file", "open";
    Detach = "detach", "fcntl";
    Duplicate = "duplicate its descriptor", "fcntl";
    EndRing = "end the ring", "unlink";
    KeepFromChildren = "keep its mapping from forked children", "madvise";
    KeepFromCoreDumps = "keep its mapping from core dumps", "madvise";
    Lock = "lock its file", "fcntl";
    LockMemory = "lock its memory", "mlock";
    ReadStatus = "read the status of its file", "stat";
    Map = "map its file", "mmap";
    NameFile = "give its file its name", "linkat";
    OpenDirectory = "open its directory", "open";
    OpenFile = "open its file", "open";
    Pin = "pin to a core", "sched_setaffinity";
    Populate = "map each of its pages", "madvise";
    ReadFile = "read its file", "pread";
    RemoveName = "remove its name", "unlink";
    Reopen = "open its file for its locks", "open";
    Reserve = "reserve its space", "fallocate";
    SetMode = "set the mode of its file", "fchmod";
    Settle = "settle a doubt", "pread";
    StartThread = "start a handler thread", "clone";
    TakeOver = "take the ring over", "msync";
    WriteFile = "write its file", "pwrite";
    WriteToDisk = "write the ring to the disk", "msync";
}

impl Step {
    /// This step's failure.
    pub(crate) fn failed(self, source: impl Into<io::Error>) -> Failed {
        Failed {
            step: self,
            bytes: 0,
            source: source.into(),
        }
    }
}

/// A step that the system refused.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) step: Step,
    /// The number of bytes that were asked for, where that matters.
    pub(crate) bytes: u64,
    pub(crate) source: io::Error,
}

impl Failed {
    /// The same failure, with the number of bytes that were asked for.
    pub(crate) fn of_bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }
}

/// For callers that name the step themselves.
impl From<Failed> for io::Error {
    fn from(failed: Failed) -> Self {
        failed.source
    }
}
