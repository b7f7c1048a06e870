//! Where our programs lie.

use std::path::PathBuf;

use anyhow::{Context, ensure};

/// This program itself.
///
/// # Errors
/// When the kernel does not say where it is.
pub fn this() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("this program cannot be found again")
}

/// A program that is built together with this one: it lies beside it, or one folder up if this is a test.
///
/// # Errors
/// When it is not built; says how it is.
pub fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let mut path = this()?;
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    let path = path.join(name);
    ensure!(
        path.exists(),
        "{name} is not built: cargo build --workspace --bins, with --release if this one is"
    );
    Ok(path)
}
