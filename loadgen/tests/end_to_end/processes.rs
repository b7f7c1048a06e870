//! The program itself: what its output may be, and which signals end it. A signal in this process would end all tests.

use std::fs::File;
use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter, Read as _, Write as _, pipe};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;

use campanile_harness::{Launch, Process};
use rustix::process::{Pid, Signal, kill_process};

use super::*;

/// How long a run of less than a second may take where others run, too.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program with these arguments.
fn program(arguments: impl IntoIterator<Item = OsString>) -> Launch {
    // The first argument is the program's name.
    Launch::new(env!("CARGO_BIN_EXE_campanile-load")).args(arguments.into_iter().skip(1))
}

/// A run in which nothing goes wrong, with its progress and its table, and where its report goes.
fn talkative(name: &str, arguments: &str) -> (Vec<OsString>, PathBuf) {
    let (arguments, json) = command_line(name, Faults::default(), arguments);
    (arguments.into_iter().filter(|argument| argument != "--quiet").collect(), json)
}

#[track_caller]
fn ends_with(process: &mut Process, code: u8) {
    assert_eq!(process.wait(PATIENCE).unwrap().code(), Some(code.into()));
}

fn read(mut output: PipeReader) -> String {
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    text
}

fn report(json: PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap()
}

#[test]
fn an_output_that_takes_nothing_costs_neither_the_run_nor_the_report() {
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let closed = || Stdio::from(pipe().unwrap().1);
    for (name, output) in [("full", &full as &dyn Fn() -> Stdio), ("closed", &closed)] {
        // Longer than a second, so that there is progress to tell.
        let (arguments, json) = talkative(&format!("output-{name}"), "--hold 1.2s");
        let mut process = program(arguments).stdout(output()).stderr(output()).start().unwrap();
        ends_with(&mut process, 0);
        assert_eq!(report(json)["connections"]["connected_at_end"], 12, "{name}");
    }
}

/// A pipe that takes no more.
fn stuck() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b'x'; 4_096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    (reader, writer)
}

#[test]
fn a_reader_of_the_progress_that_is_stuck_does_not_stop_the_run() {
    let (_reader, writer) = stuck();
    let line = "--rate 100 --duration 0.2 --hold 1.2s --fail-above max=0";
    let (arguments, json) = talkative("output-stuck", line);
    let mut process = program(arguments).stderr(writer).start().unwrap();
    // The reason that is said at the end waits for the reader, but not for ever.
    ends_with(&mut process, 99);
    assert_eq!(report(json)["connections"]["connected_at_end"], 12);
}

#[test]
fn a_table_that_cannot_be_printed_matters_to_those_who_have_nothing_else() {
    let (arguments, _) = talkative("table", "--connect-only");
    let without_report = arguments[..arguments.len() - 2].to_vec();
    let (reader, writer) = pipe().unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut process = program(without_report).stdout(full).stderr(writer).start().unwrap();
    ends_with(&mut process, 3);
    let said = read(reader);
    assert!(said.contains("error: cannot write the results"), "{said}");
}

#[test]
fn the_report_may_go_to_standard_output_alone() {
    let (mut arguments, _) = talkative("stdout", "--connect-only");
    arguments.pop();
    arguments.push("-".into());
    let ((out, stdout), (err, stderr)) = (pipe().unwrap(), pipe().unwrap());
    let mut process = program(arguments).stdout(stdout).stderr(stderr).start().unwrap();
    let (written, said) = (read(out), read(err));
    ends_with(&mut process, 0);
    let report: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(report["connections"]["opened"], 12);
    assert!(said.contains("connections        12 of 12 devices"), "the table is elsewhere: {said}");
}

#[test]
fn every_signal_that_asks_for_the_end_leaves_a_report() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let json = file(&format!("signal-{}.json", signal.as_raw()), "");
        let target = format!("ws://{}/", server.local_addr().unwrap());
        let arguments = ["load", "--hold", "60", "--url", &target, "--quiet", "--json"].map(OsString::from);
        let secret = [OsString::from("--jwt-hs256-file"), file("signal.secret", SECRET).into()];
        let (reader, writer) = pipe().unwrap();
        let arguments = arguments.into_iter().chain([json.clone().into()]).chain(secret);
        let mut process = program(arguments).stderr(writer).start().unwrap();
        // Whoever connects listens to signals.
        let connection = server.accept().unwrap();
        kill_process(Pid::from_raw(process.pid().cast_signed()).unwrap(), signal).unwrap();
        ends_with(&mut process, 105);
        drop(connection);
        assert_eq!(report(json)["interrupted"], true, "{signal:?}");
        let said = read(reader);
        assert!(said.contains("error: interrupted by a signal"), "{said}");
    }
}

/// An API that takes everything at once, and answers every request as one of 500 messages.
fn eager_api() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let result = r#"{"success":true,"deliveredCount":0,"devices":[],"failedDevices":[]}"#;
    let body = format!(r#"{{"results":[{}]}}"#, vec![result; 500].join(","));
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || answer_all(&stream, answer.as_bytes()));
        }
    });
    address
}

/// Answers one request after the other, until there are no more.
fn answer_all(mut stream: &TcpStream, answer: &[u8]) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
            length =
                line.strip_prefix("content-length: ").map_or(length, |text| text.trim().parse().unwrap());
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).ok()?;
        stream.write_all(answer).ok()?;
    }
}

#[test]
fn a_generator_that_is_itself_the_bottleneck_says_so() {
    let (mut arguments, json) = talkative("bottleneck", "--rate 1000000 --duration 4 --publishers 16");
    let at = arguments.iter().position(|argument| argument == "--api").unwrap();
    arguments[at + 1] = format!("http://{}", eager_api()).into();
    let (reader, writer) = pipe().unwrap();
    let mut process = program(arguments).stderr(writer).start().unwrap();
    let mut lines = BufReader::new(reader).lines().map_while(Result::ok);
    // A line each second: more than a second of publishing lies before the second one.
    assert!(lines.by_ref().filter(|line| line.contains(" publish ")).nth(1).is_some());
    kill_process(Pid::from_raw(process.pid().cast_signed()).unwrap(), Signal::INT).unwrap();
    let said = lines.collect::<Vec<_>>().join("\n");
    ends_with(&mut process, 90);
    assert!(said.contains("error: the bottleneck was the load generator itself"), "{said}");
    assert!(said.contains("error: interrupted by a signal"), "both reasons are said: {said}");
    assert!(report(json)["process"]["saturation"]["saturated_windows"].as_u64().unwrap() >= 3);
}
