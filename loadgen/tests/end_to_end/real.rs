//! Channels against the gateway itself, whose program stands beside the tests' folder once it has been built.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use super::*;

/// A gateway with data of its own; ends with the test.
struct RealGateway {
    process: Child,
    options: String,
}

impl Drop for RealGateway {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts the gateway with these lines in its configuration.
fn start(name: &str, lines: &str) -> RealGateway {
    let program = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("campanile");
    let (secret, key) = (file(&format!("{name}.secret"), SECRET), file(&format!("{name}.key"), API_KEY));
    let data = secret.with_extension("data");
    // What an earlier run has left is nobody's.
    let _ = std::fs::remove_dir_all(&data);
    let config = format!(
        "listen = \"127.0.0.1:0\"\napi_listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n\
         devices_listen = \"127.0.0.1:0\"\nshards = 2\ndata_dir = {:?}\n[auth]\n\
         jwt_hs256_file = {secret:?}\n[api]\nkey_file = {key:?}\n{lines}\n",
        data
    );
    let config = file(&format!("{name}.toml"), &config);
    let mut command = Command::new(&program);
    command.arg("serve").arg("--config").arg(config).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
    let ready = output.find_map(|line| line.unwrap().strip_prefix("ready ").map(str::to_owned)).unwrap();
    let field = |name: &str| ready.split(' ').find_map(|field| field.strip_prefix(name)).unwrap();
    let options = format!(
        "--url ws://{}/v2/connect --api http://{} --jwt-hs256-file {} --api-key-file {}",
        field("listen="),
        field("api="),
        secret.display(),
        key.display()
    );
    RealGateway { process, options }
}

/// Runs to the end; what was found.
fn run(name: &str, gateway: &RealGateway, arguments: &str) -> (ExitCode, Value) {
    let json = file(&format!("{name}.json"), "");
    let line =
        format!("load --quiet --fail-on-loss {} --json {} {arguments}", gateway.options, json.display());
    let code = campanile_load::main_from(line.split(' ').map(OsString::from));
    (code, serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap())
}

#[test]
#[ignore = "needs the gateway: cargo build -p campanile"]
fn the_gateway_keeps_its_promise() {
    let gateway =
        start("real", "[channels.default]\nhistory_messages_max = 1000\npublishes_per_second_max = 100");
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
    let gateway = start("real-return", "[channels.default]\nhistory_messages_max = 1000");
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
    let gateway = start("real-gap", "");
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
