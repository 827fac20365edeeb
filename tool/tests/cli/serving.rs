//! `serve`: all rings as Prometheus text, to clients of this machine, and by OTLP to a collector.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::party::Rings;
use crate::{ends, myelon, wait_until};

/// A server and the address at which it listens.
pub(crate) struct Server {
    child: Child,
    /// The lines of its stderr.
    said: mpsc::Receiver<String>,
    /// The first line of its stdout.
    begun: String,
    address: String,
}

impl Server {
    pub(crate) fn start(directory: &str) -> Self {
        Self::with(directory, &[])
    }

    /// A server that is started with further arguments.
    fn with(directory: &str, arguments: &[&str]) -> Self {
        let mut command = myelon(&["serve", "--listen", "127.0.0.1:0", "--dir", directory]);
        command.args(arguments);
        Self::of(command)
    }

    fn of(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut begun = String::new();
        let output = child.stdout.take().expect("piped");
        BufReader::new(output)
            .read_line(&mut begun)
            .expect("a line");
        let address = match serde_json::from_str::<Value>(&begun) {
            Ok(object) => object["listening"].as_str().map(str::to_owned),
            Err(_) => begun
                .trim()
                .strip_prefix("listening at http://")
                .and_then(|address| address.strip_suffix("/metrics"))
                .map(str::to_owned),
        };
        let errors = BufReader::new(child.stderr.take().expect("piped"));
        let (say, said) = mpsc::channel();
        std::thread::spawn(move || {
            errors
                .lines()
                .map_while(Result::ok)
                .for_each(|line| drop(say.send(line)));
        });
        Self {
            child,
            said,
            address: address.expect(&begun),
            begun,
        }
    }

    /// The next line of its stderr.
    fn says(&self) -> String {
        let patience = Duration::from_secs(60);
        self.said.recv_timeout(patience).expect("a line on stderr")
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

    pub(crate) fn metrics(&self) -> String {
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
pub(crate) fn has(text: &str, lines: &[&str]) {
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
    let producer = r#"{ring="a\"b",role="producer"}"#;
    let consumer = r#"{ring="a\"b",role="consumer",id="read\\er",line="0"}"#;
    let text = server.metrics();
    has(
        &text,
        &[
            &format!("myelon_ring_published_total{producer} 5"),
            &format!("myelon_ring_slots{ring} 8"),
            &format!("myelon_ring_producer_alive{producer} 1"),
            &format!("myelon_ring_closed{ring} 0"),
            &format!("myelon_ring_full{ring} 0"),
            &format!("myelon_ring_faults{ring} 0"),
            r#"myelon_ring_info{ring="a\"b",state="live",event="Tick"} 1"#,
            &format!("myelon_consumer_position{consumer} 2"),
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
            &format!("myelon_ring_producer_alive{producer} 0"),
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
fn with_json_the_address_is_an_object_and_the_metrics_are_the_same() {
    let rings = Rings::new();
    let _tx = rings.party_that("ticks", &["produce 8"]);
    let directory = rings.directory().to_str().expect("UTF-8");
    let (plain, server) = (
        Server::start(directory),
        Server::with(directory, &["--json"]),
    );
    let begun: Value = serde_json::from_str(&server.begun).expect("JSON");
    assert_eq!(begun, json!({"listening": server.address, "otlp": null}));
    assert_eq!(server.metrics(), plain.metrics());
}

/// A collector of OpenTelemetry that says to each message what the test wants.
struct Collector(TcpListener);

impl Collector {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").expect("a port"))
    }

    fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().expect("its address"))
    }

    /// The head and the body of the next message, which gets this answer.
    fn receive(&self, answer: &str) -> (String, Value) {
        let (client, _) = self.0.accept().expect("a connection");
        let patience = Some(Duration::from_secs(60));
        client.set_read_timeout(patience).expect("a timeout");
        let mut reader = BufReader::new(&client);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).expect("a line") > 0, "{head}");
        }
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "));
        let mut body = vec![0; length.and_then(|it| it.parse().ok()).expect(&head)];
        reader.read_exact(&mut body).expect("the body");
        (&client).write_all(answer.as_bytes()).expect("answered");
        (head, serde_json::from_slice(&body).expect("JSON"))
    }
}

const TAKEN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{\"partialSuccess\":{}}";

/// The metrics of a message.
fn metrics_of(message: &Value) -> &Vec<Value> {
    let metrics = &message["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
    metrics.as_array().expect("metrics")
}

/// The values of a message as lines of Prometheus text.
fn lines_of(message: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let mut lines = Vec::new();
    for metric in metrics_of(message) {
        let points = &[&metric["sum"], &metric["gauge"]].map(|data| data["dataPoints"].as_array());
        for point in points.iter().flatten().copied().flatten() {
            let attributes = point["attributes"].as_array().expect("attributes").iter();
            let labels: Vec<_> = attributes
                .map(|it| {
                    format!(
                        "{}=\"{}\"",
                        text(&it["key"]),
                        text(&it["value"]["stringValue"])
                    )
                })
                .collect();
            let (name, value) = (text(&metric["name"]), text(&point["asInt"]));
            lines.push(format!("{name}{{{}}} {value}", labels.join(",")));
        }
    }
    lines
}

#[test]
fn a_collector_gets_the_values_of_the_prometheus_text() {
    let rings = Rings::new();
    let mut tx = rings.party_that("ticks", &["produce 8"]);
    let mut rx = rings.party_that("ticks", &["consume 8 reader"]);
    tx.ok("publish 5");
    rx.ok("recv 2");
    std::fs::write(
        rings.path("damaged"),
        &std::fs::read(rings.path("ticks")).expect("read")[..600],
    )
    .expect("write");
    let collector = Collector::new();
    let server = Server::with(
        rings.directory().to_str().expect("UTF-8"),
        &["--otlp", &collector.url(), "--interval", "50ms"],
    );
    let (head, message) = collector.receive(TAKEN);
    assert!(head.starts_with("POST /v1/metrics HTTP/1.1\r\n"), "{head}");
    assert!(
        head.contains("\r\nContent-Type: application/json\r\n"),
        "{head}"
    );
    let text = server.metrics();
    let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines_of(&message), samples);
    assert!(samples.len() > 15, "{text}");
    let resource = &message["resourceMetrics"][0]["resource"]["attributes"];
    assert_eq!(
        resource[0],
        json!({"key": "service.name", "value": {"stringValue": "myelon"}})
    );
    // each metric is of the type that the text declares
    for metric in metrics_of(&message) {
        let name = metric["name"].as_str().expect("a name");
        let is_sum = text.contains(&format!("# TYPE {name} counter\n"));
        let sum = &metric["sum"];
        assert_eq!(
            (sum.is_object(), metric["gauge"].is_object()),
            (is_sum, !is_sum),
            "{name}"
        );
        if is_sum {
            assert_eq!(
                (&sum["aggregationTemporality"], &sum["isMonotonic"]),
                (&json!(2), &json!(true))
            );
        }
    }
    // counters go on from the same start
    tx.ok("publish 1");
    let times = |message: &Value| {
        let metrics = metrics_of(message).iter();
        let mut metrics = metrics.filter(|it| it["name"] == "myelon_ring_published_total");
        let point = &metrics.next().expect("the metric")["sum"]["dataPoints"][0];
        let number = |name: &str| point[name].as_str().and_then(|it| it.parse::<u64>().ok());
        ["startTimeUnixNano", "timeUnixNano"].map(|name| number(name).expect(name))
    };
    let [start, time] = times(&message);
    assert!(0 < start && start <= time);
    wait_until("a message has the new event", || {
        let (_, later) = collector.receive(TAKEN);
        assert_eq!(times(&later)[0], start);
        let line = r#"myelon_ring_published_total{ring="ticks",role="producer"} 6"#;
        lines_of(&later).iter().any(|it| it == line)
    });
    assert!(server.said.try_recv().is_err(), "nothing to report");
}

#[test]
fn a_collector_that_is_slow_or_answers_an_error_is_reported_once_and_costs_only_messages() {
    let rings = Rings::new();
    let _tx = rings.party_that("ticks", &["produce 8"]);
    let collector = Collector::new();
    let server = Server::with(
        rings.directory().to_str().expect("UTF-8"),
        &["--otlp", &collector.url(), "--interval", "20ms"],
    );
    let recovers = || {
        wait_until("the collector is known to take messages", || {
            collector.receive(TAKEN);
            server
                .said
                .try_recv()
                .is_ok_and(|line| line.contains("again; messages lost: "))
        });
    };
    collector.receive("HTTP/1.1 503 Service Unavailable\r\n\r\n");
    let said = server.says();
    assert!(
        said.contains(&collector.url()) && said.contains("503 Service Unavailable"),
        "{said}"
    );
    // other faults are not reported before it has recovered, which is the next line
    collector.receive("");
    collector.receive(
        &TAKEN
            .replace("21", "45")
            .replace("{}", r#"{"rejectedDataPoints":"1"}"#),
    );
    recovers();
    // one that refuses some of them, and says so in chunks
    let refusal = r#"{"partialSuccess":{"rejectedDataPoints":"1","errorMessage":"too old"}}"#;
    let chunk = format!("{:x}\r\n{refusal}\r\n0\r\n\r\n", refusal.len());
    collector.receive(&format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"
    ));
    let said = server.says();
    assert!(
        said.contains("refused data points: \"1\": too old"),
        "{said}"
    );
    recovers();
    // one that reads nothing: requests are answered meanwhile
    let (client, _) = collector.0.accept().expect("a connection");
    server.metrics();
    let said = server.says();
    assert!(said.contains("longer than 5s"), "{said}");
    drop(client);
    server.metrics();
    recovers();
}

#[test]
fn a_collector_that_is_away_is_reported_in_json_too() {
    let rings = Rings::new();
    // no program listens at this port
    let url = "http://127.0.0.1:1/";
    let server = Server::with(
        rings.directory().to_str().expect("UTF-8"),
        &["--json", "--otlp", url, "--interval", "20ms"],
    );
    let begun: Value = serde_json::from_str(&server.begun).expect("JSON");
    assert_eq!(begun["otlp"], "http://127.0.0.1:1/v1/metrics");
    let said: Value = serde_json::from_str(&server.says()).expect("JSON");
    assert_eq!(said["error"], "collector");
    assert!(
        said["text"]
            .as_str()
            .expect("a text")
            .contains("connecting: "),
        "{said}"
    );
    server.metrics();
}

#[test]
fn a_collector_without_a_plain_url_is_refused() {
    for url in [
        "https://localhost:4318",
        "localhost:4318",
        "http://user:password@host",
    ] {
        let refused = ends(2, &["serve", "--listen", "127.0.0.1:0", "--otlp", url]);
        assert!(refused.err.contains("--otlp"), "{refused:?}");
    }
    let refused = ends(2, &["serve", "--listen", "127.0.0.1:0", "--interval", "1s"]);
    assert!(refused.err.contains("--otlp"), "{refused:?}");
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let rings = Rings::new();
    let mut command = Command::new("nohup");
    command.arg(env!("CARGO_BIN_EXE_myelon"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--dir"]);
    command.arg(rings.directory()).stdin(Stdio::null());
    let mut server = Server::of(command);
    let pid = Pid::from_raw(server.child.id() as i32);
    kill(pid, Signal::SIGHUP).expect("signal");
    // it would end between two clients
    for _ in 0..3 {
        server.metrics();
        std::thread::sleep(Duration::from_millis(30));
    }
    kill(pid, Signal::SIGTERM).expect("signal");
    assert_eq!(server.child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn nobody_needs_to_read_where_it_listens() {
    let rings = Rings::new();
    let collector = Collector::new();
    let directory = rings.directory().to_str().expect("UTF-8");
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--dir", directory];
    let (reader, output) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = myelon(&arguments);
    command.args(["--otlp", &collector.url(), "--interval", "20ms"]);
    let mut child = command.stdout(output).spawn().expect("it starts");
    for _ in 0..2 {
        collector.receive(TAKEN);
    }
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).expect("signal");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn other_machines_are_served_only_if_that_is_asked_for() {
    let refused = ends(2, &["serve", "--listen", "0.0.0.0:0"]);
    assert!(refused.err.contains("--any-host"), "{refused:?}");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let run = ends(3, &["serve", "--listen", &address]);
    assert!(run.err.contains(&address), "{run:?}");
}
