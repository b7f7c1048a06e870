//! `bench report`: the tables of the documents, written from the records in `results/`.
//!
//! A table stands between `<!-- bench report: begin NAME -->` and the same with `end`; nobody writes there by hand. The
//! rows ([`rows`]) say in words what a figure is; every number comes from a file.

mod cells;
mod rows;
mod source;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;

use self::rows::{DOCUMENTS, Document, Row, Table};
use self::source::Source;
use crate::report::note;

/// Writes the tables of README.md and results/README.md.
#[derive(Args, Debug)]
pub(crate) struct ReportCommand {
    /// Write nothing, and fail if a table is not what the results say
    #[arg(long)]
    check: bool,
    /// The folder with README.md and results/
    #[arg(long, default_value = ".")]
    root: PathBuf,
}

impl ReportCommand {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut differ = Vec::new();
        for document in &DOCUMENTS {
            let path = self.root.join(document.path);
            let (before, after) = written(&self.root, document)?;
            if before == after {
                continue;
            }
            differ.push(document.path);
            if !self.check {
                fs::write(&path, after).with_context(|| format!("cannot write {}", path.display()))?;
                note(format_args!("{} is written", document.path));
            }
        }
        ensure!(
            !self.check || differ.is_empty(),
            "not what results/ says: {}; run bench report",
            differ.join(", ")
        );
        Ok(())
    }
}

/// A document as it is, and as it should be.
fn written(root: &Path, document: &Document) -> anyhow::Result<(String, String)> {
    let path = root.join(document.path);
    let before = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut after = before.clone();
    let mut sources = Sources { folder: root.join("results"), read: BTreeMap::new() };
    for table in document.tables {
        let text = render(table, &mut sources).with_context(|| format!("table {}", table.name))?;
        after = replaced(&after, table.name, &text).with_context(|| document.path.to_owned())?;
    }
    Ok((before, after))
}

/// The files that have been read.
struct Sources {
    folder: PathBuf,
    read: BTreeMap<&'static str, Source>,
}

impl Sources {
    fn get(&mut self, name: &'static str) -> anyhow::Result<&Source> {
        if !self.read.contains_key(name) {
            let source = Source::read(&self.folder.join(format!("{name}.json")))?;
            self.read.insert(name, source);
        }
        self.read.get(name).context("it was just read")
    }
}

/// Puts `text` between the markers of a table.
fn replaced(document: &str, name: &str, text: &str) -> anyhow::Result<String> {
    let (begin, end) = (marker("begin", name), marker("end", name));
    let (before, rest) = document.split_once(&begin).with_context(|| format!("no marker {begin}"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("no marker {end}"))?;
    if after.contains(&begin) {
        bail!("{begin} is there twice");
    }
    Ok(format!("{before}{begin}\n{text}{end}{after}"))
}

fn marker(which: &str, name: &str) -> String {
    format!("<!-- bench report: {which} {name} -->")
}

fn render(table: &Table, sources: &mut Sources) -> anyhow::Result<String> {
    let mut text = String::from("| What | Asked | Reached | How |\n|---|---|---|---|\n");
    let mut files: Vec<&str> = Vec::new();
    for row in table.rows {
        let source = sources.get(row.file)?;
        text += &line(row, source).with_context(|| format!("{}, {}", row.file, row.what))?;
        if !files.contains(&row.file) {
            files.push(row.file);
        }
    }
    text += "\n";
    text += &caption(&files, sources);
    for file in &files {
        let Some(source) = sources.read.get(file) else { continue };
        if !source.leaves_out.is_empty() {
            text += &format!("- `{file}` leaves out: {}.\n", source.leaves_out.join("; "));
        }
    }
    Ok(text)
}

/// One row.
fn line(row: &Row, source: &Source) -> anyhow::Result<String> {
    let what = cells::fill(row.what, source)?;
    let asked: Vec<&str> = row.asked.iter().map(|(_, _, shown)| *shown).collect();
    let mut missed = Vec::new();
    for (name, wanted, shown) in row.asked {
        if !source.is_met(name, *wanted)? {
            missed.push(*shown);
        }
    }
    let mut reached = cells::fill(row.reached, source)?;
    if missed.len() == asked.len() && !missed.is_empty() {
        reached += "; **not reached**";
    } else if !missed.is_empty() {
        reached += &format!("; **not reached: {}**", missed.join(", "));
    }
    if source.is_older {
        reached += " (of an older commit)";
    }
    let asked = if asked.is_empty() { "–".to_owned() } else { asked.join(", ") };
    Ok(format!("| {what} | {asked} | {reached} | `{}` |\n", source.command))
}

/// What the rows were measured on.
fn caption(files: &[&str], sources: &Sources) -> String {
    let current: Vec<&Source> =
        files.iter().filter_map(|file| sources.read.get(file)).filter(|source| !source.is_older).collect();
    let mut parts: Vec<String> = current.iter().map(|source| source.measured_on()).collect();
    parts.sort();
    parts.dedup();
    let older = files.len() - current.len();
    let mut text = String::new();
    if !parts.is_empty() {
        text += &format!("Medians, with all repetitions in brackets, of {}.\n", parts.join("; of "));
    }
    if older > 0 {
        text += "What is marked as of an older commit was measured once, and is to be repeated.\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Record;

    /// Files of `results/` whose figures are of an older commit, or not repeated. The list only becomes shorter.
    const NOT_YET_REPEATED: [&str; 7] = [
        "channel-direct-100k",
        "channel-once-100k",
        "channel-sustained-100k",
        "compare-campanile",
        "compare-nchan",
        "compare-uwebsockets",
        "compare-ws",
    ];
    const REPETITIONS_MIN: usize = 3;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[test]
    fn the_tables_of_the_documents_are_those_of_the_results() {
        for document in &DOCUMENTS {
            let (before, after) = written(&root(), document).unwrap_or_else(|error| panic!("{error:#}"));
            let differs = before.lines().zip(after.lines()).find(|(before, after)| before != after);
            assert!(before == after, "{} needs bench report: {differs:?}", document.path);
        }
    }

    #[test]
    fn every_result_is_a_record_of_three_repetitions_or_is_known_to_be_older() {
        for entry in fs::read_dir(root().join("results")).expect("results") {
            let path = entry.expect("a file").path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
            let is_listed = NOT_YET_REPEATED.contains(&name.as_str());
            match Record::read(&path) {
                Ok(record) => {
                    assert!(!is_listed, "{name} has been repeated: strike it off the list");
                    assert!(
                        record.repetitions.len() >= REPETITIONS_MIN,
                        "{name} was not measured often enough"
                    );
                    assert!(!record.commit.is_empty() && record.cores > 0, "{name}");
                }
                Err(error) => assert!(is_listed, "{error:#}"),
            }
        }
    }

    #[test]
    fn a_table_stands_between_its_markers() {
        let document = "a\n<!-- bench report: begin x -->\nold\n<!-- bench report: end x -->\nb\n";
        let new = replaced(document, "x", "new\n").expect("markers");
        assert_eq!(new, "a\n<!-- bench report: begin x -->\nnew\n<!-- bench report: end x -->\nb\n");
        assert!(replaced(document, "y", "new\n").is_err());
        assert!(replaced(&document.repeat(2), "x", "new\n").is_err());
    }
}
