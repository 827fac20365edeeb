//! Extracts the two programs of the README's first example, unchanged. `tests/lossless.rs` runs them.

use std::path::Path;
use std::{env, fs};

const README: &str = "../README.md";

fn main() {
    println!("cargo::rerun-if-changed={README}");
    let readme = fs::read_to_string(README).expect("the README");
    let programs: Vec<&str> = readme
        .split("```rust,no_run\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .collect();
    let directory = env::var_os("OUT_DIR").expect("cargo's directory");
    for (program, first_line) in [
        ("producer", "// one process"),
        ("consumer", "// another one"),
    ] {
        let source = programs
            .iter()
            .find(|source| source.starts_with(first_line));
        let source = source.expect("the README's program");
        let path = Path::new(&directory).join(format!("readme_{program}.rs"));
        fs::write(path, source).expect("written");
    }
}
