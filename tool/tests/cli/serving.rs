//! `serve`: all rings as Prometheus text, to clients of this machine.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::party::Rings;
use crate::{ends, myelon, wait_until};

/// A server and the address at which it listens.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(directory: &str) -> Self {
        let mut command = myelon(&["serve", "--listen", "127.0.0.1:0", "--dir", directory]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening at http://");
        let address = address.and_then(|address| address.strip_suffix("/metrics"));
        let address = address.expect(&line).to_owned();
        Self { child, address }
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(&self.address).expect("connect");
        let patience = Some(Duration::from_secs(60));
        client.set_read_timeout(patience).expect("a timeout");
        client
    }

    /// The head and the body of the answer.
    fn ask(&self, request: &str) -> (String, String) {
        let mut client = self.connect();
        client.write_all(request.as_bytes()).expect("write");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len())),
            "{head}"
        );
        (head.to_owned(), body.to_owned())
    }

    fn metrics(&self) -> String {
        let (head, body) = self.ask("GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("text/plain; version=0.0.4"), "{head}");
        body
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn has(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(
            text.lines().any(|it| it == *line),
            "'{line}' is missing in:\n{text}"
        );
    }
}

#[test]
fn metrics_show_what_the_rings_do() {
    let rings = Rings::new();
    let mut server = Server::start(rings.directory().to_str().expect("UTF-8"));
    let empty = server.metrics();
    has(&empty, &["# TYPE myelon_ring_published_total counter"]);
    let mut tx = rings.party_that("a\"b", &["produce 8"]);
    let mut rx = rings.party_that("a\"b", &["consume 8 read\\er"]);
    tx.ok("publish 5");
    rx.ok("recv 2");
    let ring = r#"{ring="a\"b"}"#;
    let consumer = r#"{ring="a\"b",consumer="read\\er",line="0"}"#;
    let text = server.metrics();
    has(
        &text,
        &[
            &format!("myelon_ring_published_total{ring} 5"),
            &format!("myelon_ring_slots{ring} 8"),
            &format!("myelon_ring_producer_alive{ring} 1"),
            &format!("myelon_ring_closed{ring} 0"),
            &format!("myelon_ring_full{ring} 0"),
            &format!("myelon_ring_faults{ring} 0"),
            r#"myelon_ring_info{ring="a\"b",state="live",event="Tick"} 1"#,
            &format!("myelon_consumer_released_total{consumer} 2"),
            &format!("myelon_consumer_lag{consumer} 3"),
            &format!("myelon_consumer_alive{consumer} 1"),
            &format!("myelon_consumer_away{consumer} 0"),
        ],
    );
    // each sample stands below the head of its family
    let mut family = "";
    for line in text.lines() {
        match line.strip_prefix("# TYPE ") {
            Some(rest) => family = rest.split(' ').next().expect("a name"),
            None if line.starts_with('#') => {}
            None => assert!(line.starts_with(&format!("{family}{{")), "{line}"),
        }
    }
    rx.kill();
    tx.kill();
    std::fs::write(
        rings.path("damaged"),
        &std::fs::read(rings.path("a\"b")).expect("read")[..600],
    )
    .expect("write");
    has(
        &server.metrics(),
        &[
            &format!("myelon_ring_producer_alive{ring} 0"),
            &format!("myelon_consumer_alive{consumer} 0"),
            &format!("myelon_consumer_away{consumer} 1"),
            r#"myelon_ring_readable{ring="damaged",reason="damaged"} 0"#,
        ],
    );
    // a signal ends it in order
    kill(Pid::from_raw(server.child.id() as i32), Signal::SIGTERM).expect("signal");
    assert_eq!(server.child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn other_methods_and_paths_are_refused_and_a_silent_client_holds_up_nobody() {
    let rings = Rings::new();
    let server = Server::start(rings.directory().to_str().expect("UTF-8"));
    let silent = server.connect();
    let status = |request: &str| server.ask(request).0.lines().next().map(str::to_owned);
    let is = |line: &str| Some(format!("HTTP/1.1 {line}"));
    assert_eq!(
        status("POST /metrics HTTP/1.1\r\n\r\n"),
        is("405 Method Not Allowed")
    );
    assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), is("404 Not Found"));
    assert_eq!(status("hello\r\n\r\n"), is("400 Bad Request"));
    server.metrics();
    // the silent client is given up, and was told nothing
    let mut bytes = Vec::new();
    wait_until("the silent client is given up", || {
        matches!((&silent).read_to_end(&mut bytes), Ok(0) | Err(_))
    });
    assert!(bytes.is_empty(), "{bytes:?}");
}

#[test]
fn other_machines_are_served_only_if_that_is_asked_for() {
    let refused = ends(2, &["serve", "--listen", "0.0.0.0:0"]);
    assert!(refused.err.contains("--any-host"), "{refused:?}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let run = ends(3, &["serve", "--listen", &address]);
    assert!(run.err.contains(&address), "{run:?}");
}
