//! A short run of the ledger against the gateway that lies beside `bench`.

use std::process::Command;

use serde_json::Value;

/// Built together with the gateway, as `cargo test --workspace` does.
#[test]
#[ignore = "needs the gateway's program: cargo build --bins"]
fn nothing_is_lost_or_reordered_when_the_gateway_is_killed() {
    let json = concat!(env!("CARGO_TARGET_TMPDIR"), "/ledger.json");
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args([
            "ledger",
            "--cycles",
            "3",
            "--rate",
            "2000",
            "--devices",
            "60",
            "--repeat",
            "1",
            "--json",
            json,
        ])
        .output()
        .expect("bench can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&std::fs::read(json).expect("a report")).expect("JSON");
    let figure = |name: &str| report["median"][name].as_f64().expect(name);
    assert_eq!(figure("cycles"), 3.0);
    assert!(figure("accepted") > 100.0 && figure("deliveries_owed") > figure("accepted"), "{said}");
    assert!(figure("deliveries_received") >= figure("deliveries_owed"), "{said}");
}

#[test]
fn a_gateway_that_does_not_start_is_an_error_and_not_a_success() {
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["ledger", "--cycles", "1", "--gateway", "/bin/false"])
        .output()
        .expect("bench can be started");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("the gateway ended"), "{error}");
}
