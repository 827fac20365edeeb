//! Users, as named in errors.

use std::fs::File;
use std::io::{BufRead, BufReader};

/// The effective user of this process.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: no preconditions, and it cannot fail.
    unsafe { libc::geteuid() }
}

/// A user in words, with its name if `/etc/passwd` has it. Asks no name service, as an error must not wait for one.
pub(crate) fn user_text(user: u32) -> String {
    let named = File::open("/etc/passwd").ok().and_then(|file| {
        let lines = BufReader::new(file).lines().map_while(Result::ok);
        name_in(lines, user)
    });
    match named {
        Some(name) => format!("user {user} ({name})"),
        None => format!("user {user}"),
    }
}

/// The name of a user in the lines of `/etc/passwd`.
fn name_in(mut lines: impl Iterator<Item = String>, user: u32) -> Option<String> {
    lines.find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(user)).then(|| name.escape_debug().to_string())
    })
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_number() {
        let lines = || {
            let text =
                "root:x:0:0:root:/root:/bin/sh\n# a comment\nbroken\nnobody:x:65534:65534:::\n";
            text.lines().map(String::from)
        };
        assert_eq!(name_in(lines(), 65534).as_deref(), Some("nobody"));
        assert_eq!(name_in(lines(), 0).as_deref(), Some("root"));
        assert_eq!(name_in(lines(), 7), None);
    }

    #[test]
    fn a_user_without_a_name_is_a_number() {
        assert_eq!(user_text(4_000_000_001), "user 4000000001");
    }
}
