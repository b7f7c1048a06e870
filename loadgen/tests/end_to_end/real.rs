//! Channels against the gateway itself, whose program stands beside the tests' folder once it has been built.

use campanile_harness::{Gateway, GatewayOptions, programs};

use super::*;

/// Starts the gateway with these lines in its configuration.
fn start(lines: &str) -> Gateway {
    let options = GatewayOptions::new(programs::beside("campanile").unwrap(), "load-test");
    Gateway::start(options.args(["--shards", "2", "--log", "error"]).config([lines])).unwrap()
}

/// Runs to the end; what was found.
fn run(name: &str, gateway: &Gateway, arguments: &str) -> (ExitCode, Value) {
    let json = file(&format!("{name}.json"), "");
    let mut line: Vec<OsString> = ["load", "--quiet", "--fail-on-loss", "--json"].map(Into::into).into();
    line.push(json.clone().into());
    line.extend(gateway.load_arguments());
    line.extend(arguments.split(' ').map(OsString::from));
    let code = campanile_load::main_from(line.into_iter());
    (code, serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap())
}

#[test]
#[ignore = "needs the gateway: cargo build -p campanile"]
fn the_gateway_keeps_its_promise() {
    let gateway = start("[channels.default]\nhistory_messages_max = 1000\npublishes_per_second_max = 100");
    let rooms = "--connections 60 --subscribe room:{n} --channels 6 --subscriptions-per-device 2 --publish-to room:{n}";
    for (from, encoding) in [("api", "protobuf"), ("devices", "json")] {
        let arguments =
            format!("{rooms} --rate 200 --duration 1 --publish-from {from} --encoding {encoding}");
        let (code, report) = run("real", &gateway, &arguments);
        assert!(is(code, 0), "{report:#}");
        assert_eq!(report["channels"]["frames"], 200 * 20);
    }
    let (code, report) =
        run("real", &gateway, &format!("{rooms} --rate 100 --duration 1 --single --check-every 7"));
    assert!(is(code, 0), "{report:#}");
    assert_eq!(report["channels"]["frames"], 100 * 20);
    assert!(report["channels"]["checked"].as_u64().unwrap() < 100 * 20);
}

#[test]
#[ignore = "needs the gateway: cargo build -p campanile"]
fn who_comes_back_to_the_gateway_has_missed_nothing() {
    let gateway = start("[channels.default]\nhistory_messages_max = 1000");
    let arguments = "--connections 60 --subscribe news --publish-to news --rate 100 --duration 4 --reconnect \
                     --session-seconds 1";
    let (code, report) = run("real-return", &gateway, arguments);
    assert!(is(code, 0), "{report:#}");
    let found = &report["channels"];
    assert!(found["recovered"].as_u64().unwrap() >= 60, "{found:#}");
    assert!(found["replayed"].as_u64().unwrap() > 0, "{found:#}");
}

#[test]
#[ignore = "needs the gateway: cargo build -p campanile"]
fn who_stood_still_is_told_of_its_gap_by_the_gateway() {
    let gateway = start("");
    let arguments = "--connections 20 --subscribe news --publish-to news --rate 200 --duration 4 --payload-bytes \
                     32000 --stalled-percent 10 --stalled-resume";
    let (code, report) = run("real-gap", &gateway, arguments);
    assert!(is(code, 0), "{report:#}");
    let found = &report["channels"];
    assert_eq!((&found["frames"], &found["gaps_told"]), (&(800 * 18).into(), &0.into()));
    assert!(found["gaps_told_late"].as_u64().unwrap() >= 2, "{found:#}");
    assert!(
        found["missed_told"].as_u64().unwrap() > 0 && found["frames_late"].as_u64().unwrap() > 0,
        "{found:#}"
    );
}

#[test]
#[ignore = "needs the gateway: cargo build -p campanile"]
fn a_wrong_secret_a_wrong_key_and_a_gateway_that_is_killed_are_failures() {
    let mut gateway = start("");
    let set = |option: &str, value: OsString| {
        let mut arguments = gateway.load_arguments();
        let at = arguments.iter().position(|argument| argument == option).unwrap();
        arguments[at + 1] = value;
        arguments
    };
    let line = |arguments: Vec<OsString>, more: &str| {
        let json = file("real-failures.json", "");
        let mut line: Vec<OsString> = ["load", "--quiet", "--connections", "20"].map(Into::into).into();
        line.extend(arguments);
        line.extend(more.split(' ').map(OsString::from));
        line.extend(["--json".into(), json.clone().into()]);
        (line, json)
    };
    let run = |(line, json): (Vec<OsString>, PathBuf)| {
        let code = campanile_load::main_from(line.into_iter());
        (code, serde_json::from_slice::<Value>(&std::fs::read(json).unwrap()).unwrap())
    };
    let secret = file("real-wrong.secret", SECRET).into();
    let (code, report) = run(line(set("--jwt-hs256-file", secret), "--hold 0.1"));
    assert!(is(code, 91), "{report:#}");
    assert_eq!(report["connections"]["failed_by_reason"], serde_json::json!({"token_invalid": 20}));
    let key = file("real-wrong.key", API_KEY.repeat(2).as_str()).into();
    let (code, report) = run(line(set("--api-key-file", key), "--rate 100 --duration 0.1"));
    assert!(is(code, 91), "{report:#}");
    assert_eq!(report["pushes"]["failed_by_reason"], serde_json::json!({"key_refused": 10}));
    let (line, json) = line(gateway.load_arguments(), "--rate 100 --duration 1 --hold 1");
    let load = std::thread::spawn(|| campanile_load::main_from(line.into_iter()));
    gateway.wait_for_sessions(20, Duration::from_secs(60)).unwrap();
    gateway.kill().unwrap();
    assert!(is(load.join().unwrap(), 91));
    let report: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert_eq!(
        (&report["connections"]["connected"], &report["connections"]["ended_early"]),
        (&20.into(), &20.into())
    );
}
