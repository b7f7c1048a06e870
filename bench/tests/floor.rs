//! Runs every floor measurement with few connections and checks that all of the work was done, not how fast.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// One measurement at a time: the kernel's memory counters are the whole machine's.
static ALONE: Mutex<()> = Mutex::new(());

/// A core that this process may run on.
fn some_core() -> String {
    let allowed = rustix::thread::sched_getaffinity(None).expect("affinity can be read");
    (0..1024).find(|core| allowed.is_set(*core)).expect("some core is allowed").to_string()
}

/// Runs `bench floor` with everything on one allowed core and returns the figures.
fn floor(name: &str, arguments: &[&str]) -> Value {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let core = some_core();
    let json: PathBuf = [env!("CARGO_TARGET_TMPDIR"), &format!("floor-{name}.json")].iter().collect();
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .arg("floor")
        .args(arguments)
        .args(["--server-core", &core, "--client-core", &core, "--repeat", "1", "--json"])
        .arg(&json)
        .output()
        .expect("bench can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&std::fs::read(json).expect("a report")).expect("JSON");
    report["median"].clone()
}

#[test]
fn every_connection_is_accepted() {
    let figures = floor("accepts", &["accepts", "--connections", "200", "--rings", "3"]);
    assert_eq!(figures["connections"], 200.0);
    assert_eq!(figures["rings"], 3.0);
    assert!(figures["accepts_per_second"].as_f64() > Some(0.0), "{figures}");
    assert!(figures.get("kernel_server_end_bytes").is_none(), "memory is measured only with --hold");
}

#[test]
fn holding_reports_memory_of_each_end_and_of_the_poll() {
    let figures = floor("hold", &["accepts", "--connections", "2000", "--hold", "--poll"]);
    assert_eq!(figures["connections"], 2000.0);
    for name in ["kernel_client_end_bytes", "kernel_server_end_bytes", "kernel_server_poll_bytes"] {
        assert!(figures[name].is_number(), "{name} is missing: {figures}");
    }
    // A TCP socket alone is over 2,000 bytes; other processes may free memory meanwhile, hence the wide margin.
    assert!(figures["kernel_both_ends_bytes"].as_f64() > Some(1000.0), "{figures}");
}

#[test]
fn every_byte_sent_is_received() {
    let figures =
        floor("sends", &["sends", "--connections", "200", "--rings", "2", "--bytes", "100", "--rounds", "7"]);
    assert_eq!(figures["sends"], 1400.0);
    assert_eq!(figures["sends_short"], 0.0);
    assert_eq!(figures["received_bytes"], 140_000.0);
}

#[test]
fn every_byte_is_received_by_whoever_only_counts() {
    let arguments =
        ["sends", "--connections", "200", "--rings", "2", "--bytes", "100", "--rounds", "7", "--counted"];
    let figures = floor("counted", &arguments);
    assert_eq!(figures["received_bytes"], 140_000.0);
    assert!(figures["client_limit_bytes_per_second"].as_f64() > Some(0.0), "{figures}");
}

#[test]
fn sends_that_the_receiver_has_no_room_for_are_counted_and_lose_nothing_else() {
    let arguments = ["sends", "--connections", "4", "--bytes", "1048576", "--rounds", "40"];
    let figures = floor("short", &arguments);
    let received = figures["received_bytes"].as_f64().expect("a number");
    let short = figures["sends_short"].as_f64().expect("a number");
    assert!(short > 0.0, "{figures}");
    assert!(received > 0.0 && received < 160.0 * 1_048_576.0, "{figures}");
}

#[test]
fn every_ping_is_answered() {
    let arguments = ["ping", "--connections", "200", "--rings", "2", "--interval", "0.5", "--seconds", "1.2"];
    let figures = floor("ping", &arguments);
    // The last tick may fall before or on the end: between two and two and a half pings each.
    let pings = figures["pings"].as_f64().expect("a number");
    assert!((400.0..=480.0).contains(&pings), "{figures}");
    assert_eq!(figures["pongs"], figures["pings"]);
    assert_eq!(figures["closed"], 0.0);
}

#[test]
fn too_few_rings_are_refused_with_advice() {
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["floor", "accepts", "--connections", "4000000000", "--rings", "1"])
        .output()
        .expect("bench can be started");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("use --rings"), "{error}");
}

/// Runs a short measurement whose output goes nowhere: into a full disk, or to a reader that has gone.
fn unheard(arguments: &[&str], output: impl Fn() -> Stdio) -> Option<i32> {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_bench"));
    bench.args(["floor", "sends", "--connections", "20", "--rounds", "2", "--repeat", "1"]).args(arguments);
    let core = some_core();
    bench.args(["--server-core", &core, "--client-core", &core]);
    bench.stdout(output()).stderr(output()).status().expect("bench can be started").code()
}

#[test]
fn figures_that_cannot_be_printed_are_in_the_file() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let full = || File::options().write(true).open("/dev/full").expect("a device").into();
    let unread = || std::io::pipe().expect("a pipe").1.into();
    let json: PathBuf = [env!("CARGO_TARGET_TMPDIR"), "floor-unheard.json"].iter().collect();
    let to_file = ["--json", json.to_str().expect("UTF-8")];
    assert_eq!(unheard(&to_file, full), Some(0));
    assert_eq!(unheard(&to_file, unread), Some(0));
    let report: Value = serde_json::from_slice(&std::fs::read(json).expect("a report")).expect("JSON");
    assert_eq!(report["median"]["sends"], 40.0);
    assert_eq!(unheard(&[], full), Some(1), "nobody has the figures");
    assert_eq!(unheard(&[], unread), Some(0), "whoever has gone has read enough");
}
