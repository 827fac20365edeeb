//! The programs of `COMPARE.md` that `build.rs` extracts: `compare ring send NAME` runs one side of one of them.

use std::error::Error;

/// The name of the ring or of the socket, in place of the one on the page.
fn name() -> &'static str {
    std::env::args().nth(3).expect("a name").leak()
}

mod ring {
    include!(concat!(env!("OUT_DIR"), "/ring.rs"));

    pub(super) const SIDES: [fn() -> Result<(), Box<dyn std::error::Error>>; 2] = [send, receive];
}

mod sockets {
    include!(concat!(env!("OUT_DIR"), "/sockets.rs"));

    pub(super) const SIDES: [fn() -> std::io::Result<()>; 2] = [send, receive];
}

mod channel {
    include!(concat!(env!("OUT_DIR"), "/channel.rs"));

    pub(super) const BOTH: fn() = main;
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let side = usize::from(arguments.get(1).is_some_and(|side| side == "receive"));
    match arguments[0].as_str() {
        "ring" => ring::SIDES[side](),
        "sockets" => Ok(sockets::SIDES[side]()?),
        "channel" => {
            channel::BOTH();
            Ok(())
        }
        other => Err(format!("no program {other}").into()),
    }
}
