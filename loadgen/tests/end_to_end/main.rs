//! The whole load generator, on both drivers, against a small gateway whose faults it must find.

mod channels;
mod failures;
mod gateway;
mod processes;
mod real;
mod scenarios;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use gateway::{API_KEY, Faults, SECRET};
use serde_json::Value;

/// Files of one test.
fn file(name: &str, content: &str) -> PathBuf {
    let path: PathBuf = [env!("CARGO_TARGET_TMPDIR"), name].iter().collect();
    std::fs::write(&path, content).unwrap();
    path
}

/// Runs against a gateway with these faults. The exit code with `--fail-on-loss`, and the report.
fn load(name: &str, faults: Faults, arguments: &str) -> (ExitCode, Value) {
    let (mut arguments, json) = command_line(name, faults, arguments);
    arguments.push("--fail-on-loss".into());
    let code = campanile_load::main_from(arguments.into_iter());
    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap_or_default();
    if !report.is_null() {
        // Who reads it as a type, as benchmarks do, misses nothing.
        let typed = campanile_load::report::Report::read(&json).unwrap();
        assert_eq!(serde_json::to_value(typed).unwrap(), report);
    }
    (code, report)
}

/// The whole command line against a new gateway, and where the report goes.
fn command_line(name: &str, faults: Faults, arguments: &str) -> (Vec<OsString>, PathBuf) {
    let (socket, api) = gateway::start(faults);
    let (secret, key) = (file(&format!("{name}.secret"), SECRET), file(&format!("{name}.key"), API_KEY));
    let json = file(&format!("{name}.json"), "");
    let options = format!(
        "load --url ws://{socket}/v2/connect --api http://{api} --encoding json --sources 127.0.0.1-3 --quiet \
         --user-prefix U --connections 12 --devices-per-user 3 {arguments}"
    );
    let files = [("--jwt-hs256-file", secret), ("--api-key-file", key), ("--json", json.clone())];
    let files = files.into_iter().flat_map(|(option, path)| [option.into(), path.into_os_string()]);
    (options.split_whitespace().map(OsString::from).chain(files).collect(), json)
}

fn is(code: ExitCode, number: u8) -> bool {
    code == ExitCode::from(number)
}

/// A run in which nothing goes wrong.
fn flawless(driver: &str, arguments: &str, deliveries: u64) {
    let name = format!("flawless-{driver}-{}", arguments.replace([' ', '-'], ""));
    let arguments = format!("--driver {driver} --rate 300 --duration 0.5 --shards 2 {arguments}");
    let (code, report) = load(&name, Faults::default(), &arguments);
    assert!(is(code, 0), "{report:#}");
    assert_eq!(report["driver"], driver);
    let connections = &report["connections"];
    assert_eq!((&connections["opened"], &connections["connected_at_end"]), (&12.into(), &12.into()));
    assert_eq!(connections["pings_answered"], 12);
    assert_eq!(connections["connect_latency_ms"]["count"], 12);
    assert_eq!(
        (&connections["connected"], &connections["session_latency_ms"]["count"]),
        (&12.into(), &12.into())
    );
    let pushes = &report["pushes"];
    assert_eq!((&pushes["offered"], &pushes["accepted"]), (&150.into(), &150.into()));
    let found = &report["deliveries"];
    assert_eq!((&found["reported"], &found["received"]), (&deliveries.into(), &deliveries.into()));
    assert_eq!(found["latency_ms"]["count"], deliveries);
    assert!(found["latency_ms"]["p50"].as_f64().unwrap() > 0.0);
    for wrong in ["lost", "unreported", "duplicated", "astray", "foreign", "undecodable"] {
        assert_eq!(found[wrong], 0, "{wrong}");
    }
}

#[test]
fn every_push_is_accounted_for_on_io_uring() {
    flawless("uring", "--to random-device", 150);
    flawless("uring", "--to random-user", 450);
}

#[test]
fn every_push_is_accounted_for_on_epoll() {
    flawless("epoll", "--to random-device", 150);
    flawless("epoll", "--to random-device --single", 150);
}

#[test]
fn a_broadcast_reaches_everybody() {
    flawless("epoll", "--to broadcast", 150 * 12);
}

#[test]
fn without_a_rate_the_gateway_is_given_all_it_takes() {
    let (code, report) = load("max", Faults::default(), "--driver epoll --max --messages 1000 --batch 40");
    assert!(is(code, 0), "{report:#}");
    let pushes = &report["pushes"];
    assert_eq!((&pushes["model"], &pushes["requests"]), (&"closed".into(), &25.into()));
    assert_eq!((&pushes["offered"], &pushes["accepted"]), (&1_000.into(), &1_000.into()));
    assert_eq!(pushes["devices_by_state"], serde_json::json!({"sent": 1_000}));
    assert_eq!(
        (&report["deliveries"]["received"], &report["deliveries"]["lost"]),
        (&1_000.into(), &0.into())
    );
}

#[test]
fn devices_that_are_offline_are_registered_and_nothing_is_expected_of_them() {
    let arguments = "--driver epoll --offline --max --messages 300 --batch 100 --durability durable";
    let (code, report) = load("offline", Faults::default(), arguments);
    assert!(is(code, 0), "{report:#}");
    assert_eq!(report["connections"]["opened"], 0);
    assert_eq!(report["pushes"]["accepted"], 300);
    assert_eq!(report["pushes"]["devices_by_state"], serde_json::json!({"stored": 300}));
    assert_eq!((&report["deliveries"]["reported"], &report["deliveries"]["lost"]), (&300.into(), &0.into()));
}

#[test]
fn samples_say_when_each_message_was_due_and_how_long_it_took() {
    let samples = file("samples.txt", "");
    let arguments = format!("--driver epoll --rate 200 --duration 0.5 --samples {}", samples.display());
    let (code, report) = load("samples", Faults::default(), &arguments);
    assert!(is(code, 0), "{report:#}");
    let text = std::fs::read_to_string(samples).unwrap();
    let lines: Vec<(u64, u64)> = text
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(due, took)| (due.parse().unwrap(), took.parse().unwrap()))
        .collect();
    assert_eq!(lines.len(), 100);
    let longest = lines.iter().map(|&(_, took)| took as f64 / 1e6).fold(0.0, f64::max);
    let max = report["deliveries"]["latency_ms"]["max"].as_f64().unwrap();
    assert!((longest - max).abs() <= max * 0.002, "{longest} ms is not {max} ms");
}

#[test]
fn losses_duplicates_and_strays_are_found() {
    let faults = Faults {
        lose_every: Some(10),
        duplicate_every: Some(7),
        misdeliver_every: Some(51),
        ..Faults::default()
    };
    let (code, report) = load("faults", faults, "--driver epoll --rate 400 --duration 0.5 --to random-user");
    assert!(is(code, 99), "{report:#}");
    let found = &report["deliveries"];
    // 200 pushes to three devices each: 20 lost, and 28 sent twice but for the two that were lost.
    assert_eq!(found["lost"], 20 * 3);
    assert_eq!(found["duplicated"].as_u64().unwrap() + found["astray"].as_u64().unwrap(), 26 * 3 + 3);
    assert_eq!(found["received"], 180 * 3);
}

#[test]
fn devices_that_are_refused_or_disconnected_are_counted_by_reason() {
    let faults = Faults { refused_user: Some("U1"), replaced_user: Some("U2"), ..Faults::default() };
    let (code, report) = load("refused", faults, "--hold 0.3");
    assert!(is(code, 99), "{report:#}");
    let connections = &report["connections"];
    assert_eq!(connections["failed_by_reason"], serde_json::json!({"http_403": 3}));
    assert_eq!(connections["ended_early_by_reason"], serde_json::json!({"4409": 3}));
    assert_eq!((&connections["opened"], &connections["connected_at_end"]), (&9.into(), &6.into()));
    assert_eq!((&report["pushes"], &report["deliveries"]), (&Value::Null, &Value::Null));
}

#[test]
fn what_was_not_measured_is_null_and_not_nothing() {
    let faults = Faults { lose_every: Some(1), ..Faults::default() };
    let asked =
        "--max --messages 20 --fail-above p95=1 --threshold lost=count==20 --threshold duplicated=count==0";
    let (code, report) = load("null", faults, asked);
    let (deliveries, pushes) = (&report["deliveries"], &report["pushes"]);
    assert_eq!((&deliveries["received"], &deliveries["latency_ms"]), (&0.into(), &Value::Null));
    assert_eq!((&pushes["rate_per_second"], &report["thresholds"][0]["value"]), (&Value::Null, &Value::Null));
    let kept = |index: usize| &report["thresholds"][index]["kept"];
    assert_eq!([kept(0), kept(1), kept(2)], [false, true, false], "duplicates of nothing are not measured");
    assert!(!is(code, 0));
    let arguments = "--driver epoll --offline --max --messages 300 --batch 100 --durability durable";
    let (_, report) = load("null-offline", Faults::default(), arguments);
    let connections = &report["connections"];
    for name in ["ramp_seconds", "opened_per_second", "connect_latency_ms", "session_latency_ms"] {
        assert_eq!(connections[name], Value::Null, "{name}");
    }
    assert_eq!(report["process"]["cpu_ramp_seconds"], Value::Null);
    assert!(report["process"]["cpu_publish_seconds"].is_number());
}

#[test]
fn thresholds_are_judged_and_each_is_reported() {
    let faults = Faults { lose_every: Some(10), ..Faults::default() };
    let asked = |lost: &str| {
        let (mut arguments, json) =
            command_line("thresholds", faults, "--driver epoll --rate 400 --duration 0.5");
        for threshold in
            ["deliver_latency=p(99.9)<60000", "ws_sessions=count==12", "delivered=rate==0.9", lost]
        {
            arguments.extend(["--threshold".into(), threshold.into()]);
        }
        let code = campanile_load::main_from(arguments.into_iter());
        let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
        (code, report)
    };
    let (code, report) = asked("lost=count<=20");
    assert!(is(code, 0), "{report:#}");
    let (code, report) = asked("lost=count<20");
    assert!(is(code, 99), "{report:#}");
    let expected = serde_json::json!(
        {"metric": "lost", "threshold": "count<20", "value": 20.0, "unit": "", "kept": false}
    );
    assert_eq!(report["thresholds"][3], expected);
    let kept = report["thresholds"].as_array().unwrap().iter().filter(|one| one["kept"] == true).count();
    assert_eq!(kept, 3, "{report:#}");
}

#[test]
fn two_runs_at_once_do_not_throw_each_others_devices_out() {
    let others_json = file("two-others.json", "");
    let ended_early = |named: bool| {
        // Both are there before anybody is welcomed.
        let faults = Faults { welcomes_after: 24, ..Faults::default() };
        let (mut arguments, json) = command_line("two", faults, "--hold 0.2 --connect-timeout 60");
        if !named {
            let at = arguments.iter().position(|argument| argument == "--user-prefix").unwrap();
            arguments.drain(at..at + 2);
        }
        let mut others = arguments.clone();
        *others.last_mut().unwrap() = others_json.clone().into();
        let others = std::thread::spawn(|| campanile_load::main_from(others.into_iter()));
        let codes = [campanile_load::main_from(arguments.into_iter()), others.join().unwrap()];
        let ended = [&json, &others_json].map(|json| {
            let report: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
            report["connections"]["ended_early"].as_u64().unwrap()
        });
        (codes.into_iter().all(|code| is(code, 0)), ended.into_iter().sum::<u64>())
    };
    assert_eq!(ended_early(false), (true, 0));
    assert_eq!(ended_early(true).1, 12, "the same users have the same devices");
}

#[test]
fn a_stall_is_seen_by_every_message_that_fell_into_it() {
    let faults = Faults { stall: Duration::from_millis(400), ..Faults::default() };
    let (code, report) = load("stall", faults, "--driver epoll --rate 500 --duration 1 --publishers 2");
    assert!(is(code, 0), "{report:#}");
    assert_eq!(report["pushes"]["offered"], 500, "the schedule does not wait for the gateway");
    // Two publishers were stopped, but two fifths of all messages waited, evenly up to 400 ms.
    let latency = |quantile: &str| report["deliveries"]["latency_ms"][quantile].as_f64().unwrap();
    assert!(latency("p90") > 200.0, "p90 is {} ms", latency("p90"));
    assert!(latency("p50") < 200.0, "p50 is {} ms", latency("p50"));
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_happens() {
    for (name, arguments) in [
        ("usage", "--rate 0"),
        ("payload", "--rate 1 --payload-bytes 3"),
        ("core", "--hold 1 --core 1024"),
        ("flag", "--hold 1 --no-such-flag"),
        ("endless", "--hold 1e18"),
    ] {
        let (code, report) = load(name, Faults::default(), arguments);
        assert!(is(code, 104) && report.is_null(), "{arguments}: {code:?}");
    }
}
