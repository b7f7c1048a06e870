//! The scenario files that are shipped, at a small size, and what becomes of those that ask for too much.

use super::*;

/// A scenario file.
fn shipped(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "scenarios", name].iter().collect()
}

/// Runs a scenario file against a new gateway, with few devices and in a short time.
fn run_file(file: &PathBuf, faults: Faults, arguments: &str) -> (ExitCode, Value) {
    let (socket, api) = gateway::start(faults);
    let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
    let name = format!("scenario-{name}-{}", socket.port());
    let (secret, key) =
        (super::file(&format!("{name}.secret"), SECRET), super::file(&format!("{name}.key"), API_KEY));
    let json = super::file(&format!("{name}.json"), "");
    let mut line: Vec<OsString> = ["load", "run", "--quiet", "--json"].map(Into::into).into();
    line.extend([json.clone().into(), file.into()]);
    for (variable, value) in [
        ("URL", format!("ws://{socket}/v2/connect")),
        ("API", format!("http://{api}")),
        ("JWT_HS256_FILE", secret.display().to_string()),
        ("API_KEY_FILE", key.display().to_string()),
        ("ENCODING", "json".into()),
    ] {
        line.extend(["-e".into(), format!("{variable}={value}").into()]);
    }
    line.extend(arguments.split_whitespace().map(OsString::from));
    let code = campanile_load::main_from(line.into_iter());
    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap_or_default();
    if !report.is_null() {
        let typed: campanile_load::scenario::RunReport = serde_json::from_value(report.clone()).unwrap();
        assert_eq!(serde_json::to_value(typed).unwrap(), report);
    }
    (code, report)
}

/// A run of a shipped file in which nothing goes wrong; what its only scenario has found.
#[track_caller]
fn flawless(name: &str, arguments: &str) -> Value {
    let (code, report) = run_file(&shipped(&format!("{name}.toml")), Faults::default(), arguments);
    assert!(is(code, 0), "{report:#}");
    let thresholds = report["thresholds"].as_array().unwrap();
    assert!(!thresholds.is_empty() && thresholds.iter().all(|one| one["kept"] == true), "{report:#}");
    let mut scenarios = report["scenarios"].as_object().unwrap().values();
    scenarios.next().unwrap().clone()
}

#[test]
fn smoke_pushes_to_users_and_to_a_channel_at_once() {
    let found = flawless("smoke", "--vus 12 --duration 3s");
    let connections = &found["connections"];
    assert_eq!((&connections["connected"], &connections["connected_at_end"]), (&12.into(), &12.into()));
    let gone = (connections["left"].as_u64().unwrap(), &connections["ended_early"]);
    assert!(gone.0 > 0 && gone.1 == 0, "they are let go: {found:#}");
    // 50 a second to users of two devices each, and 2 a second to 12 subscribers, for the first of two seconds.
    let count = |kind: &str, name: &str| found[kind][name].as_u64().unwrap();
    assert!((1..=50).contains(&count("pushes", "offered")), "{found:#}");
    assert_eq!(count("deliveries", "received"), 2 * count("pushes", "offered"));
    assert!((1..=2).contains(&count("channel_pushes", "offered")), "{found:#}");
    assert_eq!(count("channels", "frames"), 12 * count("channel_pushes", "offered"));
}

#[test]
fn the_stages_of_100k_run_at_any_size() {
    let found = flawless("100k", "--vus 30 --duration 2.7s -e RATE=200 -e P95_MS=60000");
    assert_eq!(
        (&found["connections"]["connected"], &found["connections"]["users"]),
        (&30.into(), &10.into())
    );
    assert_eq!(found["channels"]["subscribed_at_end"], 3, "a tenth of the devices");
    let offered = found["pushes"]["offered"].as_u64().unwrap();
    assert!((1..=180).contains(&offered), "for half of the 1.8 s of the plateau: {offered}");
    assert_eq!(found["pushes"]["durability"], "durable");
}

#[test]
fn broadcast_reaches_every_subscriber() {
    let found = flawless("broadcast", "--vus 20 --duration 3s -e RATE=20 -e P99_MS=60000 -e CHECK_EVERY=1");
    assert_eq!(found["channels"]["frames"], found["channels"]["expected"]);
    assert_eq!(found["channels"]["checked"], found["channels"]["frames"]);
}

#[test]
fn chat_runs_two_scenarios_at_once() {
    let arguments = "--vus 30 --duration 3s -e RATE=60 -e ROOMS=4 -e DIRECT_RATE=100 -e P95_MS=60000";
    let (code, report) = run_file(&shipped("chat.toml"), Faults::default(), arguments);
    assert!(is(code, 0), "{report:#}");
    let (rooms, direct) = (&report["scenarios"]["rooms"], &report["scenarios"]["direct"]);
    assert_eq!(
        (&rooms["connections"]["connected"], &direct["connections"]["connected"]),
        (&20.into(), &10.into())
    );
    assert_eq!(rooms["channels"]["publish_from"], "devices");
    assert!(rooms["channels"]["frames"].as_u64().unwrap() > 0 && rooms["deliveries"].is_null(), "{rooms:#}");
    assert!(
        direct["deliveries"]["received"].as_u64().unwrap() > 0 && direct["channels"].is_null(),
        "{direct:#}"
    );
}

#[test]
fn churn_and_soak_run_at_any_size() {
    // The gateway of these tests keeps nothing for those who are away, so nobody goes.
    let found =
        flawless("churn", "--vus 10 --duration 2s -e RATE=100 -e SESSION=10h -e SESSION_P95_MS=60000");
    assert_eq!(found["connections"]["connected"], 10);
    let found = flawless("soak", "--vus 10 --duration 2s -e RATE=100 -e SESSION=900h -e P99_MS=60000");
    assert_eq!(found["deliveries"]["lost"], 0);
}

#[test]
fn slow_readers_do_not_count_as_losses() {
    let found = flawless("slow-readers", "--vus 20 --duration 2s -e RATE=100 -e P95_MS=60000");
    assert_eq!(found["connections"]["stalled"], 2);
    assert!(found["deliveries"]["reported"].as_u64() > found["deliveries"]["received"].as_u64(), "{found:#}");
}

#[test]
fn what_is_lost_fails_a_scenario() {
    let faults = Faults { lose_every: Some(10), ..Faults::default() };
    let (code, report) = run_file(&shipped("smoke.toml"), faults, "--vus 12 --duration 6s");
    assert!(is(code, 99), "{report:#}");
    let lost = report["scenarios"]["smoke"]["deliveries"]["lost"].as_u64().unwrap();
    assert!((2..=20).contains(&lost), "one push to two devices in ten: {lost}");
    let failed = |one: &&Value| one["kept"] == false;
    let thresholds = report["thresholds"].as_array().unwrap();
    let failed: Vec<_> =
        thresholds.iter().filter(failed).map(|one| one["metric"].as_str().unwrap()).collect();
    assert_eq!(failed, ["checks", "delivered"]);
}

#[test]
fn nonsense_in_a_scenario_is_told_before_anybody_connects() {
    for arguments in
        ["-e RATES=3", "-e RATE=many", "--vus 0", "--duration x", "--threshold lost{scenario:x}=count==0"]
    {
        let (code, report) = run_file(&shipped("smoke.toml"), Faults::default(), arguments);
        assert!(is(code, 104) && report.is_null(), "{arguments}: {code:?}");
    }
    let check =
        |file: PathBuf| campanile_load::main_from(["load".into(), "check".into(), file.into()].into_iter());
    assert!(is(check(shipped("100k.toml")), 0));
    assert!(is(check(shipped("no-such-file.toml")), 104));
}
