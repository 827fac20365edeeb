//! Extracts programs of `COMPARE.md`, for `src/bin/compare.rs`. They stay as they are, but for the name of the ring or
//! the socket, which the program is told.

use std::path::Path;
use std::{env, fs};

const PAGE: &str = "../COMPARE.md";
/// The files, the start of their headings, and the names on the page.
const PROGRAMS: [(&str, &str, &str); 3] = [
    ("ring", "## myelon\n", "\"ticks\""),
    ("sockets", "## Unix sockets\n", "\"/tmp/ticks.sock\""),
    ("channel", "## crossbeam-channel ", ""),
];

fn main() {
    println!("cargo::rerun-if-changed={PAGE}");
    let page = fs::read_to_string(PAGE).expect("the page");
    let directory = env::var_os("OUT_DIR").expect("cargo's directory");
    for (file, heading, name) in PROGRAMS {
        let (_, section) = page.split_once(heading).expect("a section");
        let (_, rest) = section.split_once("\n```rust\n").expect("its program");
        let (program, _) = rest.split_once("```").expect("its end");
        let program = match name {
            "" => program.to_owned(),
            _ => program.replace(name, "crate::name()"),
        };
        let path = Path::new(&directory).join(format!("{file}.rs"));
        fs::write(path, program).expect("written");
    }
}
