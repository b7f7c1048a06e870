//! What the programs are made of: licences that Apache-2.0 may be given away with, each library once, and the database
//! whose journals the store can read.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use campanile_storage::KNOWN_VERSIONS;
use serde_json::Value;

/// Licences that are allowed, by their names in the SPDX list.
const LICENCES: [&str; 7] = ["0BSD", "Apache-2.0", "BSD-3-Clause", "BSL-1.0", "MIT", "Unicode-3.0", "Zlib"];

/// Libraries that are there in several versions, and why that is so.
const SEVERAL: [(&str, usize, &str); 5] = [
    ("getrandom", 2, "locked for an option of rand_core 0.6, not compiled"),
    ("hashbrown", 4, "the core has the newest, fjall two older ones, prost-build one"),
    ("rand_core", 2, "locked for an option of signature 2, not compiled"),
    ("signature", 2, "jsonwebtoken's traits are behind ed25519-dalek's"),
    ("syn", 2, "half of the macros have not gone to 3 yet"),
];

/// The packages that are compiled for this host, of everything in the workspace.
fn packages() -> Vec<Value> {
    let arguments = [
        "metadata",
        "--locked",
        "--offline",
        "--format-version=1",
        "--filter-platform=host-tuple",
        concat!("--manifest-path=", env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"),
    ];
    let output = Command::new(env!("CARGO")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let used: BTreeSet<&str> = nodes.iter().map(|node| node["id"].as_str().unwrap()).collect();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages.filter(|package| used.contains(package["id"].as_str().unwrap())).cloned().collect()
}

/// Whether an SPDX expression can be fulfilled with allowed licences; `AND` binds more strongly than `OR`. Old packages
/// write a slash for `OR`.
fn allowed(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().collect::<Vec<_>>().into_iter().peekable();
    either(&mut words) && words.peek().is_none()
}

type Words<'a> = std::iter::Peekable<std::vec::IntoIter<&'a str>>;

fn either(words: &mut Words<'_>) -> bool {
    let mut any = both(words);
    while words.next_if_eq(&"OR").is_some() {
        any |= both(words);
    }
    any
}

fn both(words: &mut Words<'_>) -> bool {
    let mut all = one(words);
    while words.next_if_eq(&"AND").is_some() {
        all &= one(words);
    }
    all
}

fn one(words: &mut Words<'_>) -> bool {
    if words.next_if_eq(&"(").is_some() {
        return either(words) & words.next_if_eq(&")").is_some();
    }
    let known = words.next().is_some_and(|name| LICENCES.contains(&name));
    // An exception allows more than the licence does.
    if words.next_if_eq(&"WITH").is_some() {
        return known & words.next().is_some();
    }
    known
}

#[test]
fn all_licences_are_allowed() {
    for package in packages() {
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(allowed(licence), "{} {}: `{licence}`", package["name"], package["version"]);
    }
}

#[test]
fn licences_are_read_as_spdx_says() {
    for licence in [
        "MIT",
        "GPL-3.0-only OR MIT",
        "MIT/Apache-2.0",
        "(MIT OR GPL-3.0-only) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception",
        "GPL-3.0-only AND MIT OR Zlib",
    ] {
        assert!(allowed(licence), "{licence}");
    }
    for licence in [
        "",
        "GPL-3.0-only",
        "MIT AND GPL-3.0-only",
        "(MIT OR Zlib) AND GPL-3.0-only",
        "MIT AND (GPL-3.0-only OR AGPL-3.0-only)",
        "(MIT",
        "MIT GPL-3.0-only",
        "GPL-2.0-only WITH Classpath-exception-2.0",
    ] {
        assert!(!allowed(licence), "{licence}");
    }
}

#[test]
fn each_library_is_there_once_unless_there_is_a_reason() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages() {
        let text = |key: &str| package[key].as_str().unwrap().to_owned();
        versions.entry(text("name")).or_default().insert(text("version"));
    }
    assert!(versions.len() > 100, "{versions:?}");
    versions.retain(|_, versions| versions.len() > 1);
    for (name, count, reason) in SEVERAL {
        let found = versions.remove(name).unwrap_or_default();
        assert_eq!(found.len(), count, "{name} {found:?}: {reason}");
    }
    assert!(versions.is_empty(), "there several times, without a reason: {versions:?}");
}

/// A newer version of the database may write what the store's reader of journals takes for a torn tail.
#[test]
fn the_database_is_the_version_whose_journals_the_store_reads() {
    let found = packages();
    for (name, version) in KNOWN_VERSIONS {
        let versions: Vec<&str> = found
            .iter()
            .filter(|package| package["name"] == name)
            .map(|package| package["version"].as_str().unwrap())
            .collect();
        assert_eq!(versions, [version], "read how {name} writes, then change both");
    }
    let (name, version) = KNOWN_VERSIONS[0];
    let store = found.iter().find(|package| package["name"] == "campanile-storage").unwrap();
    let mut needed = store["dependencies"].as_array().unwrap().iter();
    let database = needed.find(|dependency| dependency["name"] == name).unwrap();
    assert_eq!(database["req"], format!("={version}"), "Cargo may take another one");
}
