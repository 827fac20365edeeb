//! The programs of `COMPARE.md` that `build.rs` extracts: `compare ring send NAME` runs one side of one of them.

use std::error::Error;

/// The name of the ring or of the socket, in place of the one on the page.
fn name() -> &'static str {
    std::env::args().nth(3).expect("a name").leak()
}

mod ring {
    include!(concat!(env!("OUT_DIR"), "/ring.rs"));

    pub(super) fn run(sends: bool) -> Result<(), Box<dyn std::error::Error>> {
        if sends { send() } else { receive() }
    }
}

mod sockets {
    include!(concat!(env!("OUT_DIR"), "/sockets.rs"));

    pub(super) fn run(sends: bool) -> std::io::Result<()> {
        if sends { send() } else { receive() }
    }
}

mod channel {
    include!(concat!(env!("OUT_DIR"), "/channel.rs"));

    pub(super) fn run() {
        main();
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let sends = arguments.get(1).is_some_and(|side| side == "send");
    match arguments.first().map(String::as_str) {
        Some("ring") => ring::run(sends),
        Some("sockets") => Ok(sockets::run(sends)?),
        Some("channel") => {
            channel::run();
            Ok(())
        }
        _ => Err("say which program".into()),
    }
}
