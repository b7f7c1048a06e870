//! What Cargo cannot see: that the rooms of the core are rooms. Imports are read as text.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The longest file of the core, in lines.
const FILE_LINES_MAX: usize = 520;
/// Files that the methods of the shard may stand in.
const SHARD_FILES_MAX: usize = 3;

/// The files of the core that are no tests: module path (`net::wire`) and text without its tests.
fn files() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut files, mut folders) = (BTreeMap::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !is_test(&path) {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
                files.insert(module_of(&root, &path), code);
            }
        }
    }
    files
}

fn is_test(path: &Path) -> bool {
    let is_tests = |part: &std::ffi::OsStr| part == "tests" || part == "tests.rs" || part == "testing.rs";
    path.iter().any(is_tests) && path.iter().skip_while(|part| *part != "src").any(is_tests)
}

fn module_of(root: &Path, path: &Path) -> String {
    let relative: PathBuf = path.strip_prefix(root).unwrap().with_extension("");
    let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    parts.join("::")
}

/// The paths that a file imports, as module paths from the root: `crate::`, `self::` and `super::` are resolved, and
/// what stands in braces is taken apart.
fn imports(module: &str, text: &str) -> Vec<String> {
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut paths = Vec::new();
    let uses = code.split("use ").skip(1).filter_map(|rest| rest.split_once(';'));
    for (tree, _) in uses {
        expand("", &tree.replace(char::is_whitespace, ""), &mut paths);
    }
    // Paths in the code itself.
    for rest in code.split("crate::").skip(1) {
        let path: String =
            rest.chars().take_while(|&c| c.is_alphanumeric() || c == '_' || c == ':').collect();
        paths.push(format!("crate::{path}"));
    }
    paths.into_iter().filter_map(|path| resolve(module, &path)).collect()
}

fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let Some((head, rest)) = tree.split_once('{') else {
        return paths.push(format!("{prefix}{tree}"));
    };
    let inner = rest.strip_suffix('}').unwrap_or(rest);
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&format!("{prefix}{head}"), &inner[start..at], paths);
                start = at + 1;
            }
            _ => {}
        }
    }
}

fn resolve(module: &str, path: &str) -> Option<String> {
    let mut here: Vec<&str> = module.split("::").collect();
    let mut parts = path.split("::");
    let mut at: Vec<&str> = match parts.next()? {
        "crate" => Vec::new(),
        "self" => here,
        "super" => {
            here.pop();
            here
        }
        _ => return None,
    };
    for part in parts {
        if part == "super" {
            at.pop();
        } else {
            at.push(part);
        }
    }
    Some(at.join("::"))
}

/// The file that an imported path is in: the longest beginning of the path that is one.
fn file_of<'f>(files: &'f BTreeMap<String, String>, path: &str) -> Option<&'f str> {
    let mut path = path.to_owned();
    loop {
        if let Some((file, _)) = files.get_key_value(&path) {
            return Some(file);
        }
        path.truncate(path.rfind("::")?);
    }
}

fn arrows(files: &BTreeMap<String, String>) -> BTreeMap<&str, BTreeSet<&str>> {
    let arrow = |(module, text): (&'_ String, &String)| {
        let to =
            imports(module, text).iter().filter_map(|path| file_of(files, path)).collect::<BTreeSet<_>>();
        to.into_iter().filter(|to| to != module).collect::<BTreeSet<_>>()
    };
    files.iter().map(|(module, text)| (module.as_str(), arrow((module, text)))).collect()
}

/// A way from a file back to itself, if there is one.
fn circle<'f>(arrows: &BTreeMap<&'f str, BTreeSet<&'f str>>, from: &'f str) -> Option<Vec<&'f str>> {
    let (mut seen, mut ways) = (BTreeSet::new(), vec![vec![from]]);
    while let Some(way) = ways.pop() {
        for &to in &arrows[way[way.len() - 1]] {
            let mut further = way.clone();
            further.push(to);
            if to == from {
                return Some(further);
            }
            if seen.insert(to) {
                ways.push(further);
            }
        }
    }
    None
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let files = files();
    let arrows = arrows(&files);
    assert!(arrows.values().map(BTreeSet::len).sum::<usize>() > 100, "imports are not found");
    for file in arrows.keys() {
        if let Some(circle) = circle(&arrows, file) {
            panic!("a circle of files: {}", circle.join(" -> "));
        }
    }
}

#[test]
fn no_room_names_the_shard() {
    for (module, text) in files() {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let mut words = code.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_'));
        let is_own = module == "lib" || module.starts_with("shard");
        assert!(is_own || words.all(|word| word != "Shard"), "{module} names the shard");
    }
}

#[test]
fn the_shard_stands_in_few_files_and_no_file_is_long() {
    let files = files();
    let of_shard = |text: &str| text.contains("impl Rooms {") || text.contains("impl Shard {");
    let count = files.values().filter(|text| of_shard(text)).count();
    assert!((1..=SHARD_FILES_MAX).contains(&count), "{count} files");
    for (module, text) in &files {
        let lines = text.lines().count();
        assert!(lines <= FILE_LINES_MAX, "{module} has {lines} lines");
    }
}
