//! The files that a run writes. They are opened before it begins, so that nobody learns after an hour that the results
//! have nowhere to go.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// What stands for standard output.
const STDOUT: &str = "-";

/// Where one kind of results goes.
#[derive(Debug)]
struct Output {
    /// As the operator called it.
    name: String,
    /// `None` for standard output.
    file: Option<File>,
}

impl Output {
    fn open(path: &Path) -> Result<Output, String> {
        if path == Path::new(STDOUT) {
            return Ok(Output { name: "to standard output".into(), file: None });
        }
        let name = path.display().to_string();
        match File::create(path) {
            Ok(file) => Ok(Output { name, file: Some(file) }),
            Err(error) => Err(format!("cannot write {name}: {error}")),
        }
    }

    fn write(&self, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), String> {
        let written = match &self.file {
            Some(file) => {
                let mut out = BufWriter::new(file);
                content(&mut out).and_then(|()| out.flush())
            }
            None => {
                let mut out = BufWriter::new(io::stdout().lock());
                content(&mut out).and_then(|()| out.flush())
            }
        };
        written.map_err(|error| format!("cannot write {}: {error}", self.name))
    }
}

/// Where the results of a run go.
#[derive(Debug)]
pub struct Outputs {
    report: Option<Output>,
    samples: Option<Output>,
}

impl Outputs {
    /// Opens the files for the report and for the samples, if they go anywhere.
    ///
    /// # Errors
    /// In words for the operator: the first that cannot be written.
    pub fn open(report: Option<&Path>, samples: Option<&Path>) -> Result<Outputs, String> {
        let open = |path: Option<&Path>| path.map(Output::open).transpose();
        Ok(Outputs { report: open(report)?, samples: open(samples)? })
    }

    /// Whether the report is for somebody who is not to see the table in it.
    pub fn take_stdout(&self) -> bool {
        [&self.report, &self.samples].into_iter().flatten().any(|output| output.file.is_none())
    }

    /// Whether the report goes anywhere.
    pub fn has_report(&self) -> bool {
        self.report.is_some()
    }

    /// Writes the report, if it goes anywhere.
    ///
    /// # Errors
    /// In words for the operator.
    pub fn write_report(&self, report: &impl serde::Serialize) -> Result<(), String> {
        let Some(output) = &self.report else { return Ok(()) };
        output.write(|out| {
            serde_json::to_writer_pretty(&mut *out, report)?;
            out.write_all(b"\n")
        })
    }

    /// Writes a line for each arrival, if they go anywhere: when it was due, and how long it took.
    ///
    /// # Errors
    /// In words for the operator.
    pub fn write_samples(&self, samples: &[(u64, u64)]) -> Result<(), String> {
        let Some(output) = &self.samples else { return Ok(()) };
        output.write(|out| samples.iter().try_for_each(|(due, took)| writeln!(out, "{due} {took}")))
    }
}
