//! The input and output of an actor: it answers each line of input with one line.

use std::io::{BufRead, Write};

use myelon_tests::kinds::kind_of;

/// The text of an answer, or an error.
pub(crate) type Answer = Result<String, Failure>;

/// A failed command: the error's kind, the results that were obtained before it, and the error's text.
pub(crate) struct Failure {
    pub(crate) kind: String,
    pub(crate) before: String,
    pub(crate) text: String,
}

impl<E: std::error::Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            kind: kind_of(&error),
            before: String::new(),
            text: error.to_string(),
        }
    }
}

/// The next line of input, or `None` at its end.
pub(crate) fn next_line() -> Option<String> {
    let mut line = String::new();
    let count = std::io::stdin().lock().read_line(&mut line).expect("input");
    (count > 0).then_some(line)
}

pub(crate) fn reply(answer: &Answer) {
    let line = match answer {
        Ok(text) => format!("ok {text}"),
        Err(Failure { kind, before, text }) => format!("err {kind} {before} | {text}"),
    };
    let mut output = std::io::stdout().lock();
    // a test that has ended no longer reads
    let _ = writeln!(output, "{}", line.replace('\n', " "));
    let _ = output.flush();
}
