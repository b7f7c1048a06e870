//! Worlds from seeds: hostile networks, clients and operators, and a model of what must hold all the same.

mod crowd;
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

fn run(seed: u64) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| crowd::live(seed))) {
        eprintln!(
            "\nrepeat: CAMPANILE_SEED={seed} cargo test -p campanile --test simulation any_seed -- --nocapture\n"
        );
        resume_unwind(panic);
    }
}

#[test]
fn any_seed_keeps_the_promises() {
    if let Some(seed) = number("CAMPANILE_SEED") {
        return run(seed);
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
                    run(seed);
                }
            });
        }
    });
}

#[test]
fn a_seed_repeats_its_world() {
    for seed in [3, 4] {
        assert_eq!(crowd::live(seed), crowd::live(seed));
    }
}
