//! What Cargo cannot see: who may name what is behind the port.

use std::fs;
use std::path::Path;

/// All source files below a directory.
fn sources(directory: &Path, found: &mut Vec<(String, String)>) {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file");
            found.push((path.display().to_string(), text));
        }
    }
}

#[test]
fn nobody_but_stores_names_what_is_behind_the_port() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = Vec::new();
    for room in ["crates/core/src", "crates/core/tests", "gateway/src", "campanile/src"] {
        sources(&root.join(room), &mut found);
    }
    assert!(found.len() > 50, "the rooms have moved: {} files", found.len());
    for (path, text) in found {
        for name in ["mailbox::executor", "mailbox::contract", "executor::Mailbox"] {
            assert!(!text.contains(name), "{path} names {name}");
        }
    }
}
