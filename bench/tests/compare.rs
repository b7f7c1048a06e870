//! Runs a whole comparison against a small server in this process, and against servers that do it wrong.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::Value;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::{Message, WebSocket};

type Subscribers = Arc<Mutex<Vec<WebSocket<TcpStream>>>>;

/// Listens until the tests end, with a thread for each connection.
fn serve(handle: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let handle = Arc::new(handle);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let handle = Arc::clone(&handle);
            thread::spawn(move || handle(stream));
        }
    });
    address.to_string()
}

/// Sends every message of `/publish` through `change` to all that said `hello` and their number at `/subscribe/…`.
fn broadcast(change: impl Fn(Message) -> Message + Send + Sync + 'static) -> String {
    let subscribers = Subscribers::default();
    serve(move |stream| {
        let mut path = String::new();
        #[expect(clippy::result_large_err, reason = "tungstenite's own type")]
        let remember = |request: &Request, response: Response| {
            path = request.uri().path().to_owned();
            Ok(response)
        };
        let Ok(mut socket) = tungstenite::accept_hdr(stream, remember) else { return };
        let lock = || subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = path.strip_prefix("/subscribe/") {
            let hello = Message::text(format!("hello {number}"));
            while let Ok(frame) = socket.read() {
                if frame == hello {
                    return lock().push(socket);
                }
            }
            return;
        }
        while let Ok(message) = socket.read() {
            if message.is_text() {
                let message = change(message);
                lock().retain_mut(|subscriber| subscriber.send(message.clone()).is_ok());
            }
        }
    })
}

fn compare(server: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["compare", "--unpinned", "--name", "small", "--subscribers", "20"])
        .args(["--against", &format!("ws://{server}/subscribe/{{n}}")])
        .args(["--publish-url", &format!("ws://{server}/publish")])
        .args(arguments)
        .output()
        .expect("bench can be started")
}

fn error(server: &str, arguments: &[&str]) -> String {
    let output = compare(server, arguments);
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_message_to_every_subscriber_is_counted_and_can_be_drawn() {
    let server = broadcast(|message| message);
    let (json, svg) = (
        concat!(env!("CARGO_TARGET_TMPDIR"), "/compare.json"),
        concat!(env!("CARGO_TARGET_TMPDIR"), "/compare.svg"),
    );
    let pid = std::process::id().to_string();
    let rates = ["--sampled", "5", "--rates", "20,50", "--seconds", "1.5", "--p95-max-ms", "60000"];
    let more = ["--first-frame", "hello {n}", "--server-pid", &pid, "--repeat", "2", "--json", json];
    let output = compare(&server, &[&rates[..], &more].concat());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));

    let report: Value = serde_json::from_slice(&std::fs::read(json).expect("a report")).expect("JSON");
    let steps = report["series"]["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 2);
    for (step, messages) in steps.iter().zip([30, 75]) {
        assert_eq!(step["published_messages"], messages, "{step}");
        assert_eq!(step["sampled_frames"], messages * 5, "{step}");
        assert_eq!((&step["lost_frames"], &step["out_of_order_frames"]), (&0.into(), &0.into()), "{step}");
        assert_eq!(
            (&step["frame_bytes"], &step["undelivered_percent"]),
            (&132.0.into(), &0.0.into()),
            "{step}"
        );
        assert!(
            step["p50_msec"].as_f64() > Some(0.0) && step["p50_msec"].as_f64() <= step["max_msec"].as_f64()
        );
        assert!(step["delivered_frames_per_second"].as_f64() > Some(0.0), "{step}");
        assert!(step["server_cpu_usec_per_frame"].is_number(), "{step}");
    }
    assert_eq!(report["median"]["best_messages_per_second"], 50.0);
    assert!(said.contains("small: 20 subscribers, messages of 128 bytes"), "{said}");

    let drawn = Command::new(env!("CARGO_BIN_EXE_bench")).args(["plot", json, "--out", svg]).status();
    assert!(drawn.expect("bench can be started").success());
    let svg = std::fs::read_to_string(svg).expect("a drawing");
    assert!(svg.starts_with("<svg ") && svg.matches("<title>small: ").count() == 2, "{svg}");
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let gone = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let error = error(&gone.to_string(), &[]);
    assert!(error.contains(&format!("nothing listens at {gone}")), "{error}");
}

#[test]
fn the_words_of_a_server_that_refuses_are_shown() {
    let server = serve(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\nmembers on");
    });
    let error = error(&server, &[]);
    assert!(error.contains("refuses the upgrade: HTTP/1.1 403 Forbidden members on"), "{error}");
}

#[test]
fn when_nothing_comes_it_is_said_what_may_be_missing() {
    let never_subscribed = broadcast(|message| message);
    let said = error(&never_subscribed, &[]);
    assert!(said.contains("nothing of what was published came") && said.contains("--first-frame"), "{said}");
}

#[test]
fn when_something_else_comes_it_is_shown() {
    let shouting = broadcast(|message| Message::text(message.to_string().to_uppercase()));
    let said = error(&shouting, &["--first-frame", "hello {n}"]);
    assert!(said.contains("in none is what was published") && said.contains("@BENCH:"), "{said}");
}

#[test]
fn a_server_that_ends_connections_is_quoted() {
    let subscribers = Mutex::new(Vec::new());
    let server = serve(move |stream| {
        let Ok(mut socket) = tungstenite::accept(stream) else { return };
        let frame = tungstenite::protocol::CloseFrame { code: 4401.into(), reason: "who are you".into() };
        let _ = socket.close(Some(frame));
        subscribers.lock().unwrap_or_else(PoisonError::into_inner).push(socket);
    });
    let error = error(&server, &[]);
    assert!(error.contains("close 4401 who are you") || error.contains("broken"), "{error}");
}
