//! Which rooms may not know each other. What is a crate of its own Cargo keeps apart; this is the rest.

use std::fs;
use std::path::{Path, PathBuf};

/// All sources below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) = entries.partition(|path| path.is_dir());
    let files = files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs"));
    files.chain(folders.iter().flat_map(|folder| sources(folder))).collect()
}

/// Whether a source names a module at the top of its crate, from a module that is `depth` below it. Comments do not
/// count.
fn names(source: &str, module: &str, depth: usize) -> bool {
    let code: String = source.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code: String = code.split_whitespace().collect();
    let begins = |rest: &str| {
        let rest = rest.strip_prefix(module);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    let grouped = |rest: &str| {
        let (mut nested, mut starts) = (0, true);
        for (place, c) in rest.char_indices() {
            if nested == 1 && starts && begins(&rest[place..]) {
                return true;
            }
            starts = matches!(c, '{' | ',');
            nested += i32::from(c == '{') - i32::from(c == '}');
            if nested <= 0 {
                return false;
            }
        }
        false
    };
    // With more of them the path would leave the crate, which does not build.
    let top = ["crate::", &"super::".repeat(depth)].map(str::to_owned);
    top.iter().any(|top| {
        let mut rests = code.match_indices(top.as_str()).map(|(place, _)| &code[place + top.len()..]);
        rests.any(|rest| begins(rest) || (rest.starts_with('{') && grouped(rest)))
    })
}

#[test]
fn the_api_knows_nothing_of_the_node_that_starts_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = sources(&root.join("api"));
    assert!(files.len() > 20, "the API is no longer there");
    files.push(root.join("api.rs"));
    for file in files {
        let depth = file.strip_prefix(&root).unwrap().components().count();
        let source = fs::read_to_string(&file).unwrap();
        assert!(!names(&source, "node", depth), "{} names crate::node", file.display());
    }
}

#[test]
fn a_module_is_found_however_it_is_named() {
    for (source, depth) in [
        ("use crate::node::Node;", 2),
        ("use crate::node;", 2),
        ("use crate::{config, node::Node};", 2),
        ("use crate::{\n    api::{self, Listener},\n    node,\n};", 2),
        ("let phase = crate :: node :: Phase::Ready;", 2),
        ("use super::node::Node;", 1),
        ("use super::super::node::Node;", 2),
    ] {
        assert!(names(source, "node", depth), "{source}");
    }
    for (source, depth) in [
        ("use crate::nodes::Node;", 2),
        ("use crate::{config::node, status};", 2),
        ("// crate::node starts it", 2),
        ("use super::node::node;", 3),
        ("use self::node::Node;", 2),
    ] {
        assert!(!names(source, "node", depth), "{source}");
    }
}
