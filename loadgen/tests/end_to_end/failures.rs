//! Runs in which nothing works: none of them ends as if all were well, hangs, or panics.

use std::net::{SocketAddr, TcpListener};

use campanile_load::verdict::{Code, Reason, Verdict};
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
    let (mut arguments, json) = command_line(name, Faults::default(), "--hold 0.1s --connect-timeout 0.5s");
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
