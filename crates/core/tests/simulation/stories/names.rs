//! Names that somebody has chosen to do harm.

use std::time::Duration;

use campanile_core::placement::HomeShard;
use campanile_core::requests::{Answer, Durability, PUSHES_PER_REQUEST_MAX, RequestBody};
use rustc_hash::FxBuildHasher;
use rustix::time::{ClockId, clock_gettime};

use crate::support::{Setup, Targets, a_push, message, user};

/// Users in an attack. It grows with the square where it works.
const USERS: usize = 8_000;

/// A user id whose hash without a key is that of every other: `rustc-hash` 2 multiplies two halves at the end, and the
/// beginning makes the first of them nothing.
fn that_meets(number: usize) -> String {
    format!("toyddgywkszivuox{number:016}aRgY_e0i{number:08}")
}

fn like_any(number: usize) -> String {
    format!("toyddgywkszivuox{number:016}aRgY_e1i{number:08}")
}

#[test]
fn the_names_of_these_stories_meet_where_there_is_no_key() {
    let hash = |name: String| std::hash::BuildHasher::hash_one(&FxBuildHasher, name.as_str());
    assert!((0..USERS).all(|number| hash(that_meets(number)) == hash(that_meets(0))));
    assert_ne!(hash(like_any(1)), hash(like_any(2)));
}

#[test]
fn names_that_were_made_to_meet_are_spread_over_the_shards() {
    let [key, other] = [1, 2].map(|seed| Setup { seed, ..Setup::shards(4) }.keys().0);
    let mut users = [0; 4];
    (0..USERS).for_each(|number| users[HomeShard::new(4, key).of(&user(&that_meets(number)))] += 1);
    assert!(users.iter().all(|&users| (1_800..2_200).contains(&users)), "{users:?}");
    // Another node places them otherwise: what was found out about one helps nowhere else.
    let moves = |number: &usize| {
        let name = user(&that_meets(*number));
        HomeShard::new(4, key).of(&name) != HomeShard::new(4, other).of(&name)
    };
    let moved = (0..USERS).filter(moves).count();
    assert!((5_700..6_300).contains(&moved), "{moved} of 8,000 users live elsewhere");
}

/// The processor time that a push to each of these users takes.
fn time_of_pushes(name: fn(usize) -> String) -> Duration {
    let time = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let mut gateway = Setup::shards(1).start();
    let begun = time();
    let users: Vec<usize> = (0..USERS).collect();
    for part in users.chunks(PUSHES_PER_REQUEST_MAX) {
        let push = |&number: &usize| a_push(&name(number), Targets::All, message("x"), Durability::Durable);
        let ticket = gateway.ask(0, RequestBody::Push(part.iter().map(push).collect()));
        while !gateway.has_answer(ticket) {
            gateway.steps(4);
            gateway.pump();
        }
        assert!(matches!(gateway.answer(ticket), Some(Answer::Pushed(pushed)) if pushed.len() == part.len()));
    }
    time() - begun
}

#[test]
fn names_that_were_made_to_meet_cost_no_more_than_others() {
    let [ordinary, chosen] = [like_any, that_meets].map(time_of_pushes);
    assert!(chosen < 3 * ordinary, "{chosen:?}, where other names take {ordinary:?}");
}

/// Not a story, but the kind whole: every table without a key is one of numbers that the shard gives out.
#[test]
fn nothing_but_numbers_of_our_own_stands_in_a_table_without_a_key() {
    let mut folders = vec![std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut tables = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let source = std::fs::read_to_string(&path).unwrap();
            let code =
                |line: &&str| !line.trim_start().starts_with("//") && !line.trim_start().starts_with("use ");
            let unkeyed = |line: &&str| line.contains("Fx") && !line.contains("::default()");
            for line in source.lines().filter(code).filter(unkeyed) {
                let of_numbers = ["HashMap<u32, ", "HashMap<(u32, u32), ", "HashSet<u64"];
                assert!(of_numbers.iter().any(|table| line.contains(table)), "{}: {line}", path.display());
                tables += 1;
            }
        }
    }
    assert!(tables > 0, "looked in the wrong place");
}
