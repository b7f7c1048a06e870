//! Runs in which nothing works: none of them ends as if all were well, hangs, or panics.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use campanile_load::verdict::{Code, Reason, Verdict};
use campanile_protocol::upgrade::{UpgradeRequest, write_switching_protocols};
use clap::Parser as _;

use super::*;

/// What a run comes to, and its report.
fn judge(arguments: Vec<OsString>, json: &PathBuf) -> (Verdict, Value) {
    let options = campanile_load::options::Options::try_parse_from(arguments).unwrap();
    let verdict = campanile_load::verdict_of(options);
    (verdict, serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap_or_default())
}

/// Replaces what an option says.
fn set(arguments: &mut [OsString], option: &str, value: impl Into<OsString>) {
    let at = arguments.iter().position(|argument| argument == option).unwrap();
    arguments[at + 1] = value.into();
}

/// Where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A run against this server comes to nothing, for this reason.
#[track_caller]
fn nobody_connects(name: &str, server: SocketAddr, reason: &str) {
    nobody_connects_in("60s", name, server, reason);
}

/// The same, of a server that is not to be waited for.
#[track_caller]
fn nobody_connects_in(time: &str, name: &str, server: SocketAddr, reason: &str) {
    let (mut arguments, json) =
        command_line(name, Faults::default(), &format!("--hold 0.1s --connect-timeout {time}"));
    set(&mut arguments, "--url", format!("ws://{server}/v2/connect"));
    let (verdict, report) = judge(arguments, &json);
    assert_eq!(verdict.code(), Some(Code::NothingWorked), "{verdict:?}");
    assert!(matches!(verdict.reasons(), [Reason::NothingConnected { devices: 12, .. }]), "{verdict:?}");
    assert_eq!(report["connections"]["failed_by_reason"], serde_json::json!({reason: 12}), "{report:#}");
}

#[test]
fn a_target_that_is_down_is_a_failure() {
    nobody_connects("down", nobody(), "connection_refused");
}

/// A server that does this with whoever connects, until the test is over.
fn server(serve: impl Fn(TcpStream) + Copy + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// A server that gives this answer to whatever it is asked.
fn answering(answer: &'static str) -> SocketAddr {
    server(move |mut stream| {
        let mut request = [0; 4_096];
        if stream.read(&mut request).is_ok_and(|length| length > 0) {
            // Whoever is gone hears nothing.
            let _ = stream.write_all(answer.as_bytes());
        }
    })
}

#[test]
fn a_server_that_refuses_is_a_failure_for_its_own_reason() {
    let wrong_path = "HTTP/1.1 404 Not Found\r\nContent-Length: 48\r\n\r\n\
                      {\"error\":{\"code\":\"not_found\",\"message\":\"what?\"}}";
    nobody_connects("path", answering(wrong_path), "not_found");
    let wrong_secret = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 53\r\n\r\n\
                        {\"error\":{\"code\":\"token_invalid\",\"message\":\"not me\"}}";
    nobody_connects("secret", answering(wrong_secret), "token_invalid");
    nobody_connects("plain", answering("HTTP/1.1 502 Bad Gateway\r\n\r\n"), "http_502");
}

#[test]
fn a_server_that_talks_nonsense_or_nothing_is_a_failure_in_time() {
    nobody_connects("garbage", answering("\x16\x03\x01\x02 \r\n\r\n"), "malformed_answer");
    nobody_connects("rude", answering(""), "closed_before_answer");
    let silent = server(|mut stream| drop(stream.read_to_end(&mut Vec::new())));
    nobody_connects_in("500ms", "silent", silent, "timed_out");
    let slow = server(|mut stream| {
        while stream.write_all(b"HTTP").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    nobody_connects_in("500ms", "slow", slow, "timed_out");
}

#[test]
fn nothing_is_lost_by_those_who_never_connected() {
    let (mut arguments, json) = command_line("never", Faults::default(), "--rate 100 --duration 0.2");
    set(&mut arguments, "--url", format!("ws://{}/v2/connect", nobody()));
    arguments.push("--fail-on-loss".into());
    let (verdict, report) = judge(arguments, &json);
    assert_eq!(verdict.code(), Some(Code::NothingWorked), "{verdict:?}");
    assert_eq!((&report["deliveries"]["expected"], &report["deliveries"]["lost"]), (&0.into(), &0.into()));
    // All reasons are said, the weightiest decides.
    let loss = |reason: &Reason| reason.to_string() == "--fail-on-loss: attempts to connect that failed: 12";
    assert!(verdict.reasons().iter().any(loss), "{verdict:?}");
}

/// A run whose pushes come to nothing, for this reason.
#[track_caller]
fn nothing_is_accepted(name: &str, option: &str, value: impl Into<OsString>, reason: &str) {
    let (mut arguments, json) = command_line(name, Faults::default(), "--rate 100 --duration 0.2");
    set(&mut arguments, option, value);
    let (verdict, report) = judge(arguments, &json);
    assert_eq!(verdict.code(), Some(Code::NothingWorked), "{verdict:?}");
    assert!(matches!(verdict.reasons(), [Reason::NothingAccepted { messages: 20, .. }]), "{verdict:?}");
    assert_eq!(report["pushes"]["failed_by_reason"], serde_json::json!({reason: 20}));
}

#[test]
fn an_api_that_is_down_or_does_not_know_the_key_is_a_failure() {
    nothing_is_accepted("api-down", "--api", format!("http://{}", nobody()), "cannot_connect");
    nothing_is_accepted("api-key", "--api-key-file", file("wrong.key", "another-key"), "key_refused");
}

#[test]
fn a_gateway_that_dies_in_the_middle_is_a_failure() {
    let faults = Faults { dies_after: Some(30), ..Faults::default() };
    let (arguments, json) = command_line("dies", faults, "--rate 200 --duration 0.5 --batch-ms 1");
    let (verdict, report) = judge(arguments, &json);
    assert_eq!(verdict.code(), Some(Code::NothingWorked), "{verdict:?}");
    let lost = |reason: &Reason| matches!(reason, Reason::EverybodyLost { connections: 12, .. });
    assert!(verdict.reasons().iter().any(lost), "{verdict:?}");
    assert!(report["deliveries"]["received"].as_u64().unwrap() > 0, "it lived for a while");
    assert_eq!(report["connections"]["ended_early_by_reason"], serde_json::json!({"1006": 12}));
}

#[test]
fn a_run_in_which_nothing_of_what_was_accepted_arrives_is_a_failure() {
    let faults = Faults { lose_every: Some(1), ..Faults::default() };
    let (arguments, json) = command_line("nothing", faults, "--rate 100 --duration 0.2");
    let (verdict, report) = judge(arguments, &json);
    assert_eq!(verdict.code(), Some(Code::NothingWorked), "{verdict:?}");
    assert!(matches!(verdict.reasons(), [Reason::NothingDelivered { expected: 20 }]), "{verdict:?}");
    assert_eq!(report["deliveries"]["lost"], 20);
}

#[test]
fn without_tokens_nobody_is_said_to_be_connected() {
    let options = ["load", "--hold", "1"];
    let options = campanile_load::options::Options::try_parse_from(options).unwrap();
    let verdict = campanile_load::verdict_of(options);
    assert_eq!(verdict.code(), Some(Code::Arguments));
    assert!(verdict.reasons()[0].to_string().contains("devices need tokens"), "{verdict:?}");
}

#[test]
fn whoever_connects_without_a_session_is_told_that_none_is_known_of() {
    let consent = |mut stream: TcpStream| {
        let mut request = vec![0; 4_096];
        let length = stream.read(&mut request).unwrap();
        let request = UpgradeRequest::parse(&request[..length]).unwrap();
        assert_eq!(request.bearer_token(), None);
        let mut answer = Vec::new();
        write_switching_protocols(&mut answer, request.key, request.protocols().next(), None);
        stream.write_all(&answer).unwrap();
        // Until it goes.
        let _ = stream.read_to_end(&mut Vec::new());
    };
    let json = file("anonymous.json", "");
    let line = format!("load --quiet --anonymous --connections 5 --hold 0.1 --url ws://{}/", server(consent));
    let arguments = line.split(' ').map(OsString::from).chain(["--json".into(), json.clone().into()]);
    let (verdict, report) = judge(arguments.collect(), &json);
    assert_eq!(verdict.code(), None, "{verdict:?}");
    let connections = &report["connections"];
    assert_eq!((&connections["connected"], &connections["counted_at"]), (&5.into(), &"upgrade".into()));
    let table = campanile_load::report::Report::read(&json).unwrap().to_string();
    assert!(table.contains("none known of"), "{table}");
}

#[test]
fn devices_that_come_back_are_counted_once_and_their_connections_apart() {
    let arguments = "--hold 1.5 --reconnect --session-seconds 300ms";
    let (arguments, json) = command_line("back", Faults::default(), arguments);
    let (verdict, report) = judge(arguments, &json);
    assert_eq!(verdict.code(), None, "{verdict:?}");
    let connections = &report["connections"];
    assert_eq!((&connections["connected"], &connections["failed"]), (&12.into(), &0.into()));
    assert!(connections["opened"].as_u64().unwrap() > 12, "{connections:#}");
}

#[test]
fn a_report_that_cannot_be_written_is_told_before_anybody_connects() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    for option in ["--json", "--samples"] {
        let (mut arguments, json) = command_line("unwritable", Faults::default(), "--hold 60");
        set(&mut arguments, "--url", format!("ws://{}/", server.local_addr().unwrap()));
        arguments.extend([option, "/no/such/folder/file"].map(OsString::from));
        if option == "--json" {
            let at = arguments.iter().position(|argument| argument == "--json").unwrap();
            arguments.drain(at..at + 2);
        }
        let (verdict, _) = judge(arguments, &json);
        assert_eq!(verdict.code(), Some(Code::CannotRun), "{verdict:?}");
        let said = verdict.reasons()[0].to_string();
        assert!(said.contains("cannot write /no/such/folder/file"), "{said}");
    }
    assert!(server.accept().is_err(), "nobody has connected");
}
