//! The pages name what the program says: every reason, every code, every metric.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The pages in which codes and reasons are explained.
const PAGES: [&str; 4] = ["protocol.md", "api.md", "delivery.md", "channels.md"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).unwrap()
}

/// The program's text below a folder or in a file, without its tests.
fn source(path: &str) -> String {
    fn collect(path: &Path, text: &mut String) {
        if path.is_dir() {
            let mut entries: Vec<_> =
                fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
            entries.sort();
            entries.iter().filter(|path| !path.ends_with("tests")).for_each(|path| collect(path, text));
        } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("tests.rs") {
            let file = fs::read_to_string(path).unwrap();
            text.push_str(file.split("#[cfg(test)]").next().unwrap_or_default());
        }
    }
    let mut text = String::new();
    collect(&root().join(path), &mut text);
    assert!(!text.is_empty(), "there is nothing in {path}");
    text
}

/// What stands between these marks.
fn quoted(text: &str, mark: char) -> impl Iterator<Item = &str> {
    text.lines().flat_map(move |line| line.split(mark).skip(1).step_by(2))
}

/// A word of several in lower case, as codes, reasons and fields are.
fn is_code(word: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    word.contains('_') && word.split('_').all(part)
}

/// What the tables of the pages name.
fn in_tables() -> BTreeSet<String> {
    let pages = PAGES.map(page).join("\n");
    let rows: String = pages.lines().filter(|line| line.starts_with('|')).collect::<Vec<_>>().join("\n");
    quoted(&rows, '`').map(str::to_owned).collect()
}

#[test]
fn every_reason_and_code_of_the_program_is_in_a_table() {
    let sources =
        ["crates/core/src", "crates/protocol/src/upgrade/request.rs", "gateway/src/api/error.rs"].map(source);
    let said: BTreeSet<String> = sources
        .iter()
        .flat_map(|text| quoted(text, '"'))
        .filter(|word| is_code(word))
        .map(Into::into)
        .collect();
    assert!(["bad_subprotocol", "not_handed_out", "dedup_conflict"].iter().all(|code| said.contains(*code)));
    let missing: Vec<_> = said.difference(&in_tables()).cloned().collect();
    assert_eq!(missing, Vec::<String>::new(), "no table explains these");
}

#[test]
fn the_table_of_close_codes_has_those_of_the_program_and_no_others() {
    let source = source("crates/protocol/src/frame/close_code.rs");
    let constants = source.lines().filter(|line| line.starts_with("pub const") && line.contains(": u16 = "));
    let code = |line: &str| line.rsplit_once(" = ").unwrap().1.trim_end_matches(';').parse::<u16>().unwrap();
    let known: BTreeSet<u16> = constants.map(code).collect();
    let protocol = page("protocol.md");
    let table = protocol.split("| Code | Why | What to do |").last().unwrap();
    let codes = |text: &str| -> Vec<u16> {
        text.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
    };
    let first_cells = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let mut written: BTreeSet<u16> = first_cells.flat_map(codes).collect();
    // The text behind it.
    let reserved = table.lines().find(|line| line.ends_with("is reserved.")).map(codes).unwrap_or_default();
    written.extend(reserved.first());
    assert_eq!(written, known);
}

#[test]
fn every_metric_that_a_page_names_is_one() {
    let sources = ["crates", "gateway/src"].map(source).join("\n");
    let words: BTreeSet<&str> = sources.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    for name in ["operations.md", "channels.md", "delivery.md", "api.md"] {
        let text = page(name);
        let metrics = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for metric in metrics.filter(|word| word.starts_with("campanile_")) {
            let short = metric.trim_start_matches("campanile_").trim_end_matches("_total");
            let bare = short.trim_start_matches("store_").trim_start_matches("api_");
            // A group of them.
            let is_whole = !metric.ends_with('_');
            assert!(
                !is_whole || words.contains(short) || words.contains(bare),
                "{name}: there is no {metric}"
            );
        }
    }
}

/// Where the links of a text lead.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// The anchors of a page's headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let slug = |heading: &str| -> String {
        let kept = heading.trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    text.lines().filter(|line| line.starts_with('#')).map(|line| slug(line.trim_start_matches('#'))).collect()
}

#[test]
fn the_links_of_the_pages_lead_somewhere() {
    let mut pages = vec![root().join("README.md"), root().join("results/README.md")];
    pages.extend(fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    for page in pages.iter().filter(|page| page.extension().is_some_and(|kind| kind == "md")) {
        let text = fs::read_to_string(page).unwrap();
        for link in links(&text).filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            assert!(target.exists(), "{}: {link}", page.display());
            let is_anchored =
                anchor.is_empty() || anchors(&fs::read_to_string(target).unwrap()).contains(anchor);
            assert!(is_anchored, "{}: {link}", page.display());
        }
    }
    let readme = fs::read_to_string(&pages[0]).unwrap();
    for room in fs::read_dir(root().join("crates")).unwrap() {
        let room = room.unwrap().file_name().into_string().unwrap();
        assert!(readme.contains(&format!("`{room}`")), "the README does not say what crates/{room} is");
    }
    assert!(readme.contains("](results/compare.svg)"), "the README does not show the comparison");
}

#[test]
fn fields_are_written_as_they_are_in_json() {
    let schema = fs::read_to_string(root().join("crates/protocol/proto/campanile/v2/frames.proto")).unwrap();
    let declared = schema.lines().filter_map(|line| line.trim().split(" = ").next()?.rsplit_once(' '));
    let fields: BTreeSet<&str> = declared.map(|(_, name)| name).filter(|name| is_code(name)).collect();
    assert!(fields.contains("caught_up"), "{fields:?}");
    for name in PAGES.into_iter().chain(["getting-started.md"]) {
        let text = page(name);
        let wrong: Vec<&str> = quoted(&text, '`').filter(|word| fields.contains(word)).collect();
        assert_eq!(wrong, Vec::<&str>::new(), "{name}");
    }
}
