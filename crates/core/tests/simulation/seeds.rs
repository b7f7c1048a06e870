//! Worlds from seeds: hostile networks, clients and operators, and a model of what must hold all the same.
//!
//! In a [`crowd`] everybody connects, talks and stalls, and what is pushed is not kept. In a [`mail`] world it is kept,
//! the disk fails, and the power is cut. In a world of [`channels`] many subscribe to the same, and each follows at its
//! own pace.

mod channels;
mod crowd;
mod mail;
mod model;

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// How many seeds a run takes, unless the environment says otherwise.
const SEEDS: u64 = 1_000;

fn number(name: &str) -> Option<u64> {
    env::var(name)
        .ok()
        .map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
}

fn run(test: &str, live: fn(u64) -> String, seed: u64) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| live(seed))) {
        eprintln!(
            "\nrepeat: CAMPANILE_SEED={seed} cargo test -p campanile-core --test simulation {test} -- --nocapture\n"
        );
        resume_unwind(panic);
    }
}

fn run_seeds(test: &str, live: fn(u64) -> String) {
    if let Some(seed) = number("CAMPANILE_SEED") {
        return run(test, live, seed);
    }
    let seeds = number("CAMPANILE_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let threads = thread::available_parallelism().map_or(1, |threads| threads.get().min(8));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    run(test, live, seed);
                }
            });
        }
    });
}

#[test]
fn any_seed_keeps_the_promises() {
    run_seeds("any_seed_keeps_the_promises", crowd::live);
}

#[test]
fn any_seed_delivers_the_mail() {
    run_seeds("any_seed_delivers_the_mail", mail::live);
}

#[test]
fn any_seed_keeps_channels_in_order() {
    run_seeds("any_seed_keeps_channels_in_order", channels::live);
}

#[test]
fn a_seed_repeats_its_world() {
    for seed in [3, 4] {
        assert_eq!(crowd::live(seed), crowd::live(seed));
        assert_eq!(mail::live(seed), mail::live(seed));
        assert_eq!(channels::live(seed), channels::live(seed));
    }
}
