//! `serve`: the rings as Prometheus text over HTTP. Reads rings only; answers `GET /metrics` and nothing else.

use std::io::{self, Write, stdout};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::http::{MESSAGE_MAX, PATIENCE, head_and_body, read_within, write_within};
use crate::metrics::{prometheus, samples};
use crate::options::{In, Serve};
use crate::otlp;
use crate::signals::Ending;
use crate::{Failure, Outcome, reported};

/// How many requests are answered at a time; more are refused.
const CLIENTS_MAX: usize = 16;
/// The pause between two checks for a client.
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) fn run(options: &Serve, json: bool) -> Result<Outcome, Failure> {
    if !options.listen.ip().is_loopback() && !options.any_host {
        let text = format!(
            "{} can be reached from other machines, and every client is told of all rings: say --any-host if that is meant",
            options.listen
        );
        return Err(Failure::Usage(text));
    }
    let ending = Ending::register()?;
    let failed = |error| Failure::Io(format!("listening at {}", options.listen), error);
    let listener = TcpListener::bind(options.listen).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let at = listener.local_addr().map_err(failed)?;
    let otlp = options.otlp.as_ref().map(ToString::to_string);
    let mut said = match json {
        true => json!({"listening": at.to_string(), "otlp": otlp}).to_string() + "\n",
        false => format!("listening at http://{at}/metrics\n"),
    };
    if let Some(otlp) = otlp.filter(|_| !json) {
        said += &format!("sending to {otlp} every {:?}\n", options.interval);
    }
    // a reader of this line that has gone changes nothing for the clients
    reported(say(&said), Outcome::Fine)?;
    if let Some(collector) = options.otlp.clone() {
        let failed = |error| Failure::Io(String::from("starting a thread"), error);
        let place = options.place.clone();
        otlp::start(collector, options.interval, place, json).map_err(failed)?;
    }
    let place = Arc::new(options.place.clone());
    let clients = Arc::new(AtomicUsize::new(0));
    while !ending.has_come() {
        match listener.accept() {
            Ok((client, _)) => {
                let (place, counted) = (Arc::clone(&place), Counted::new(&clients));
                let answering = std::thread::Builder::new().spawn(move || {
                    // the client's errors are its own
                    let _ = answer(client, counted.is_one_too_many(), &place);
                });
                // without a thread for it, the client is dropped: the next one may find one
                if answering.is_err() {
                    std::thread::sleep(PAUSE);
                }
            }
            // also where a client has gone again, or descriptors are used up for now
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
    Ok(Outcome::Fine)
}

fn say(text: &str) -> io::Result<()> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// One of the clients that are answered at present.
struct Counted {
    clients: Arc<AtomicUsize>,
    /// How many there are with this one.
    count: usize,
}

impl Counted {
    fn new(clients: &Arc<AtomicUsize>) -> Self {
        let clients = Arc::clone(clients);
        let count = clients.fetch_add(1, Ordering::Relaxed) + 1;
        Self { clients, count }
    }

    fn is_one_too_many(&self) -> bool {
        self.count > CLIENTS_MAX
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers one request and closes the connection.
fn answer(mut client: TcpStream, is_crowded: bool, place: &In) -> io::Result<()> {
    client.set_nonblocking(false)?;
    let (status, body) = match is_crowded {
        true => (
            "503 Service Unavailable",
            String::from("too many requests at a time\n"),
        ),
        false => {
            let is_whole = |request: &[u8]| head_and_body(request).is_some();
            response(&read_within(PATIENCE, &mut client, is_whole)?, place)
        }
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n{}Connection: \
         close\r\n\r\n",
        body.len(),
        if status.starts_with("405") {
            "Allow: GET\r\n"
        } else {
            ""
        },
    );
    write_within(PATIENCE, &mut client, (head + &body).as_bytes())?;
    client.shutdown(std::net::Shutdown::Write)
}

fn response(head: &[u8], place: &In) -> (&'static str, String) {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let words: Vec<_> = line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = words[..] else {
        return (
            "400 Bad Request",
            String::from("expected a request of HTTP\n"),
        );
    };
    let path = target
        .split(|byte| *byte == b'?')
        .next()
        .unwrap_or_default();
    match (version.starts_with(b"HTTP/1."), method, path) {
        (false, ..) => ("400 Bad Request", String::from("expected HTTP/1\n")),
        _ if head.len() >= MESSAGE_MAX => (
            "431 Request Header Fields Too Large",
            String::from("the request is too long\n"),
        ),
        (true, b"GET", b"/metrics") => match samples(place) {
            Ok(samples) => ("200 OK", prometheus(&samples)),
            Err(failure) => ("500 Internal Server Error", failure.text() + "\n"),
        },
        (true, _, b"/metrics") => ("405 Method Not Allowed", String::from("only GET\n")),
        _ => ("404 Not Found", String::from("only /metrics\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_get_of_one_path_is_answered() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = In {
            dir: Some(directory.path().to_owned()),
        };
        let status = |request: &str| response(request.as_bytes(), &place).0[..3].to_owned();
        assert_eq!(status("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"), "200");
        assert_eq!(status("GET /metrics?a=b HTTP/1.0\r\n\r\n"), "200");
        for method in ["POST", "HEAD", "PUT", "DELETE", "get"] {
            assert_eq!(
                status(&format!("{method} /metrics HTTP/1.1\r\n\r\n")),
                "405"
            );
        }
        for path in ["/", "/metrics/", "/../metrics", "//metrics", "*"] {
            assert_eq!(status(&format!("GET {path} HTTP/1.1\r\n\r\n")), "404");
        }
        for request in [
            "",
            "GET",
            "GET /metrics",
            "GET /metrics HTTP/2\r\n\r\n",
            "GET  /metrics HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(status(request), "400", "{request}");
        }
        let long = format!("GET /metrics HTTP/1.1\r\nA: {}", "a".repeat(MESSAGE_MAX));
        assert_eq!(status(&long), "431");
    }
}
