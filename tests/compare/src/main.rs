//! The programs of `COMPARE.md` that `build.rs` extracts, each behind a feature of its name. `ci/compare` builds and
//! runs them: `myelon-compare zeromq send NAME` runs one side of one of them, and `myelon-compare zeromq text` prints
//! the program as it stands on the page.

use std::error::Error;
use std::process::ExitCode;

#[allow(dead_code, reason = "shared with others")]
#[path = "../../programs.rs"]
mod programs;

const PAGE: &str = include_str!("../../../COMPARE.md");

/// The name of the ring, service or socket, in place of the one on the page.
#[allow(dead_code, reason = "Aeron's stream has a number in its place")]
fn name() -> &'static str {
    std::env::args().nth(3).expect("a name").leak()
}

/// The module of a program, and `run` for a side of it.
macro_rules! program {
    ($feature:literal, $module:ident) => {
        #[cfg(feature = $feature)]
        mod $module {
            include!(concat!(env!("OUT_DIR"), "/", $feature, ".rs"));

            pub(super) fn run(sends: bool) -> Result<(), Box<dyn std::error::Error>> {
                let done = if sends { send() } else { receive() };
                // not each library's error is one of the standard library
                Ok(done.map_err(|error| format!("{error:?}"))?)
            }
        }
    };
}
program!("iceoryx2", of_iceoryx2);
program!("aeron", of_aeron);
program!("tachyon", of_tachyon);
program!("subetha", of_subetha);
program!("zeromq", of_zeromq);

fn run(program: &str, sends: bool) -> Result<(), Box<dyn Error>> {
    match program {
        #[cfg(feature = "iceoryx2")]
        "iceoryx2" => of_iceoryx2::run(sends),
        #[cfg(feature = "aeron")]
        "aeron" => of_aeron::run(sends),
        #[cfg(feature = "tachyon")]
        "tachyon" => of_tachyon::run(sends),
        #[cfg(feature = "subetha")]
        "subetha" => of_subetha::run(sends),
        #[cfg(feature = "zeromq")]
        "zeromq" => of_zeromq::run(sends),
        _ => Err(format!("{program} was not compiled (side: {sends})").into()),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        [program, "text"] => {
            let mut all = programs::OTHERS.iter();
            let program = all.find(|one| one.name == program).expect("a program");
            print!("{}", program.of(PAGE));
            Ok(())
        }
        [program, "send", _] => run(program, true),
        [program, "receive", _] => run(program, false),
        _ => Err("say which program, which side and which name".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("myelon-compare: {error}");
            ExitCode::FAILURE
        }
    }
}
