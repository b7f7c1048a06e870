//! Folders that go with their process.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context;

use crate::keeper;

/// A folder of our own that only this user can enter; removed, with all that is in it, when this is dropped or the
/// process ends.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes a folder for `purpose` among the temporary ones, or in `parent`.
    ///
    /// # Errors
    /// When it cannot be made there.
    pub fn new(purpose: &str, parent: Option<&Path>) -> anyhow::Result<Folder> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let parent = std::path::absolute(parent.map_or_else(std::env::temp_dir, Path::to_owned))?;
        fs::create_dir_all(&parent).with_context(|| format!("cannot create {}", parent.display()))?;
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("campanile-{purpose}-{}-{number}", std::process::id()));
            if path.exists() {
                // Left by an earlier process with our number.
                continue;
            }
            keeper::keep_folder(&path)?;
            fs::DirBuilder::new()
                .mode(0o700)
                .create(&path)
                .with_context(|| format!("cannot create {}", path.display()))?;
            return Ok(Folder { path });
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a new file that only this user can read.
    ///
    /// # Errors
    /// When it is there already or cannot be written.
    pub fn write_secret(&self, name: &str, secret: &str) -> anyhow::Result<PathBuf> {
        let path = self.join(name);
        let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path)?;
        file.write_all(secret.as_bytes())?;
        Ok(path)
    }

    /// Leaves it where it is, for whoever looks for what went wrong.
    pub fn keep(self) -> PathBuf {
        keeper::forget_folder(&self.path);
        let path = self.path.clone();
        std::mem::forget(self);
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if fs::remove_dir_all(&self.path).is_ok() {
            keeper::forget_folder(&self.path);
        }
    }
}

/// What the files in a folder take on the disk, in bytes; nothing if it cannot be read.
pub fn bytes_in(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_its_owner_unless_it_is_kept() {
        let folder = Folder::new("folder-test", None).expect("a folder");
        let path = folder.path().to_owned();
        fs::write(folder.join("file"), vec![7; 10_000]).expect("a file");
        assert!(bytes_in(&path) >= 10_000);
        drop(folder);
        assert!(!path.exists());
        let kept = Folder::new("folder-test", None).expect("a folder").keep();
        assert!(kept.is_dir());
        fs::remove_dir(kept).expect("an empty folder");
    }

    #[test]
    fn two_folders_of_one_purpose_are_two() {
        let folders = [(); 2].map(|()| Folder::new("folder-test", None).expect("a folder"));
        assert_ne!(folders[0].path(), folders[1].path());
    }

    #[test]
    fn others_cannot_read_a_secret_and_it_is_not_written_twice() {
        let folder = Folder::new("folder-test", None).expect("a folder");
        let path = folder.write_secret("key", "secret").expect("a file");
        assert_eq!(fs::metadata(path).expect("a file").mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(folder.path()).expect("a folder").mode() & 0o777, 0o700);
        assert!(folder.write_secret("key", "another").is_err());
    }
}
