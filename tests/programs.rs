//! The programs of `COMPARE.md`. `tests/build.rs` and `tests/compare/build.rs` extract them, and
//! `tests/tests/compare.rs` checks that each is run.

/// A program of the page.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// How the heading of its section starts.
    pub(crate) heading: &'static str,
    /// The name of its ring, service or socket on the page, where it has one.
    pub(crate) placeholder: &'static str,
}

const fn program(name: &'static str, heading: &'static str, placeholder: &'static str) -> Program {
    Program {
        name,
        heading,
        placeholder,
    }
}

/// Those that need no other library but crossbeam-channel: a test of the workspace runs them.
pub(crate) const OWN: [Program; 3] = [
    program("ring", "## myelon\n", "\"ticks\""),
    program("sockets", "## Unix sockets\n", "\"/tmp/ticks.sock\""),
    program("channel", "## crossbeam-channel ", ""),
];

/// Those of other libraries, which bring a hundred crates and code in C and C++: `ci/compare` runs them.
pub(crate) const OTHERS: [Program; 5] = [
    program("iceoryx2", "## iceoryx2 ", "\"ticks\""),
    program("aeron", "## Aeron ", ""),
    program("tachyon", "## Tachyon ", "\"/tmp/ticks.sock\""),
    program("subetha", "## SubEtha ", "\"/tmp/ticks\""),
    program("zeromq", "## ZeroMQ ", "\"ipc:///tmp/ticks\""),
];

impl Program {
    /// Its text on the page.
    pub(crate) fn of<'a>(&self, page: &'a str) -> &'a str {
        let (_, section) = page.split_once(self.heading).expect("a section");
        let (_, rest) = section.split_once("\n```rust\n").expect("its program");
        let (text, _) = rest.split_once("```").expect("its end");
        text
    }

    /// Writes its text into a file of cargo's directory. It stays as it is, but for the name of its ring, service or
    /// socket, which the program is told.
    pub(crate) fn extract(&self, page: &str, directory: &std::path::Path) {
        let text = match self.placeholder {
            "" => self.of(page).to_owned(),
            name => {
                assert!(
                    self.of(page).contains(name),
                    "{name} is not in {}",
                    self.name
                );
                self.of(page).replace(name, "crate::name()")
            }
        };
        let file = directory.join(self.name).with_extension("rs");
        std::fs::write(file, text).expect("written");
    }
}
