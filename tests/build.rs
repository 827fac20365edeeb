//! Extracts programs of `COMPARE.md`, for `src/bin/compare.rs`.

use std::path::Path;
use std::{env, fs};

#[allow(dead_code, reason = "shared with others")]
mod programs;

const PAGE: &str = "../COMPARE.md";

fn main() {
    println!("cargo::rerun-if-changed={PAGE}");
    println!("cargo::rerun-if-changed=programs.rs");
    let page = fs::read_to_string(PAGE).expect("the page");
    let directory = env::var_os("OUT_DIR").expect("cargo's directory");
    for program in programs::OWN {
        program.extract(&page, Path::new(&directory));
    }
}
