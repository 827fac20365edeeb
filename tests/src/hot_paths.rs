//! The hot calls as a release build compiles them: the program `hot-paths/src/main.rs` and its assembly.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The compiled hot calls.
#[derive(Debug)]
pub struct HotPaths {
    /// The program.
    pub program: PathBuf,
    /// Its assembly.
    pub assembly: String,
}

impl HotPaths {
    /// Compiles the program in a directory of its own. `cargo` is `env!("CARGO")`, `directory` is
    /// `env!("CARGO_TARGET_TMPDIR")`.
    ///
    /// # Panics
    ///
    /// When the program does not compile.
    pub fn compile(cargo: &str, directory: &str) -> Self {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("the workspace");
        let target = Path::new(directory).join("codegen");
        let assembly = target.join("hot_paths.s");
        let output = Command::new(cargo)
            .current_dir(workspace)
            .args([
                "rustc",
                "--release",
                "--offline",
                "--color",
                "never",
                "-p",
                "myelon-hot-paths",
            ])
            .args(["--bin", "hot_paths", "--target-dir"])
            .arg(&target)
            // no hot call is theirs, but for what is compiled into it
            .args(["--config", "profile.release.package.\"*\".opt-level=0"])
            .args(["--", "-C", "debuginfo=0"])
            .arg(format!("--emit=asm={}", assembly.display()))
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .output()
            .expect("cargo runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Self {
            program: target.join("release/hot_paths"),
            assembly: fs::read_to_string(assembly).expect("the assembly"),
        }
    }
}
