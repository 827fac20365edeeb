//! Members of sessions that are processes. A member is the test program started again with only its test
//! `a_member_of_a_test`, which does nothing unless [`role`] returns a role.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The environment variable that tells a member its role and the session's label.
const ROLE: &str = "MYELON_TEST_MEMBER";
/// The prefix of the lines that a member prints for its test.
const SAYS: &str = "member> ";
/// A limit far longer than any answer takes.
const BOUND: Duration = Duration::from_secs(10);

/// The role and the session's label, if this process was started as a member.
pub(crate) fn role() -> Option<(String, String)> {
    let role = std::env::var(ROLE).ok()?;
    let (role, label) = role.rsplit_once(' ').expect("a role and a label");
    Some((role.to_owned(), label.to_owned()))
}

/// Ends this member when its test has gone, which may be killed.
pub(crate) fn exit_when_the_test_ends() {
    thread::spawn(|| {
        let _ = std::io::stdin().lines().count();
        std::process::exit(1);
    });
}

pub(crate) struct Member {
    pub(crate) process: Child,
    orders: ChildStdin,
    pub(crate) answers: Receiver<String>,
}

impl Member {
    /// Starts this program again with the test `a_member_of_a_test` of the module `path`.
    pub(crate) fn start(path: &str, role: &str, label: &str) -> Result<Self> {
        let test = match path.split_once("::") {
            Some((_, module)) => format!("{module}::a_member_of_a_test"),
            None => String::from("a_member_of_a_test"),
        };
        let mut process = Command::new(std::env::current_exe()?)
            .args(["--exact", &test, "--nocapture"])
            .env(ROLE, format!("{role} {label}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = process.stdin.take().expect("piped");
        let output = BufReader::new(process.stdout.take().expect("piped"));
        let (said, answers) = mpsc::channel();
        thread::spawn(move || {
            for line in output.lines().map_while(std::io::Result::ok) {
                if let Some((_, answer)) = line.split_once(SAYS) {
                    let _ = said.send(answer.to_owned());
                }
            }
        });
        Ok(Self {
            process,
            orders,
            answers,
        })
    }

    pub(crate) fn tell(&mut self, order: &str) -> Result {
        Ok(writeln!(self.orders, "{order}")?)
    }

    /// The next line that the member prints.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> String {
        let answer = self.answers.recv_timeout(BOUND);
        answer.unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    pub(crate) fn pid(&self) -> String {
        format!("pid {}", self.process.id())
    }

    pub(crate) fn kill(&mut self) -> Result {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

pub(crate) fn say(words: &str) {
    println!("{SAYS}{words}");
}
