//! Runs every floor measurement with few connections and checks that all of the work was done, not how fast.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// One measurement at a time: the kernel's memory counters are the whole machine's.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs `bench floor` with everything on one allowed core and returns the figures.
fn floor(name: &str, arguments: &[&str]) -> Value {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let allowed = rustix::thread::sched_getaffinity(None).expect("affinity can be read");
    let core = (0..1024).find(|core| allowed.is_set(*core)).expect("some core is allowed").to_string();
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
