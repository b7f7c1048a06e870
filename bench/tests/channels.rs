//! Short runs of what is measured of channels, against the gateway that lies beside `bench`: whether everything was
//! counted, not how fast it was.

use std::process::Command;

use serde_json::Value;

/// Runs `bench gateway channel-…` and returns the figures.
fn channel(name: &str, arguments: &str) -> Value {
    let json = format!("{}/channel-{name}.json", env!("CARGO_TARGET_TMPDIR"));
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["gateway", &format!("channel-{name}"), "--repeat", "1", "--json", &json])
        .args(arguments.split_whitespace())
        .output()
        .expect("bench can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&std::fs::read(json).expect("a report")).expect("JSON");
    report["median"].clone()
}

fn figure(figures: &Value, name: &str) -> f64 {
    figures[name].as_f64().unwrap_or_else(|| panic!("no figure {name}: {figures}"))
}

/// Built together with the gateway, as `cargo test --workspace` does.
#[test]
#[ignore = "needs the gateway's program: cargo build --bins"]
fn a_message_is_one_send_to_each_subscriber() {
    let found = channel("once", "--unpinned --subscribers 100 --sampled 10 --rounds 3");
    assert_eq!(figure(&found, "subscribers"), 100.0);
    // The payload, the names around it, and the header of the frame.
    assert!((140.0..200.0).contains(&figure(&found, "send_bytes")), "{found}");
    assert!(figure(&found, "gateway_sends_per_second") > 0.0, "{found}");
    let whole = figure(&found, "ratio_of_floor");
    assert!(whole > 0.0 && whole <= figure(&found, "pass_ratio_of_floor"), "{found}");
}

#[test]
#[ignore = "needs the gateway's program: cargo build --bins"]
fn every_message_to_many_channels_comes_to_each_of_their_subscribers() {
    // It fails if one does not come.
    let rates = "--rate 500 --batch 10 --publishers 2 --single-publishers 2 --seconds 1";
    let found =
        channel("many", &format!("--unpinned --channels 50 --subscribers 5 --sampled 50 --shards 2 {rates}"));
    assert_eq!(figure(&found, "batched_messages"), 500.0);
    assert!(figure(&found, "single_fastest_messages") > 0.0 && figure(&found, "single_messages") > 0.0);
    assert!(figure(&found, "batched_p50_msec") <= figure(&found, "batched_p99_msec"), "{found}");
}

#[test]
#[ignore = "needs the gateway's program: cargo build --bins"]
fn subscribers_that_never_read_stay_and_hold_up_nobody() {
    let found = channel("stalled", "--unpinned --subscribers 50 --percent 20 --sampled 40 --seconds 1");
    assert_eq!(figure(&found, "stalled"), 10.0);
    assert!(figure(&found, "sockets_bytes_per_stalled") > 16_384.0, "their sockets are full: {found}");
}
