//! How much room there is, and the ballast that is given back when there is no other.
//!
//! ```text
//! free room of the file system, the ballast counted as if it were always there
//! ├───────────┬──────────────────┬─────────────────────┬──────────────────────►
//! 0      critical               low               low + low/4
//!  ballast is  appends are refused  once refused, they   appends
//!  given back  trims go on          stay refused
//! ```
//!
//! Between `critical` and `low` there is what the database needs to sort and merge what it has; the ballast is what
//! trims are written to when even that is gone. It is made again as soon as there is room for it.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FallocateFlags;

/// The file system is asked at most so often, unless much was written.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// When appends stop for want of room.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct RoomOptions {
    /// Size of the ballast, in bytes.
    pub ballast_bytes: u64,
    /// Appends are refused below so many free bytes.
    pub free_low_bytes: u64,
    /// The ballast is given back below so many free bytes.
    pub free_critical_bytes: u64,
}

impl Default for RoomOptions {
    fn default() -> RoomOptions {
        // A merge of the database's upper levels writes up to about 150 MiB before it removes what it has read.
        RoomOptions { ballast_bytes: 64 << 20, free_low_bytes: 256 << 20, free_critical_bytes: 16 << 20 }
    }
}

/// What is known of the room, as of the last look.
pub(super) struct Room {
    options: RoomOptions,
    used_max: u64,
    directory: PathBuf,
    ballast: bool,
    full: bool,
    free_bytes: u64,
    used_bytes: u64,
    /// Written since the last look, in bytes.
    written_bytes: u64,
    looked_at: Option<Instant>,
}

impl Room {
    pub(super) fn new(directory: &Path, used_max: u64, options: RoomOptions) -> Room {
        Room {
            options,
            used_max,
            directory: directory.into(),
            ballast: directory.join("ballast").exists(),
            full: false,
            free_bytes: 0,
            used_bytes: 0,
            written_bytes: 0,
            looked_at: None,
        }
    }

    /// Whether appends are refused.
    pub(super) fn full(&self) -> bool {
        self.full
    }

    /// What may be written without need for the ballast, as of the last look.
    pub(super) fn free_bytes(&self) -> u64 {
        self.free_bytes.saturating_sub(self.options.free_critical_bytes)
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.used_bytes + self.written_bytes
    }

    pub(super) fn wrote(&mut self, bytes: usize) {
        self.written_bytes += bytes as u64;
    }

    /// Whether it is time to look again.
    pub(super) fn is_stale(&self) -> bool {
        let much = (self.options.free_low_bytes / 16).min(self.used_max / 64).max(64 << 10);
        self.written_bytes >= much || self.looked_at.is_none_or(|at| at.elapsed() >= LOOK_INTERVAL)
    }

    /// Looks at the file system; `used_bytes` is what the store occupies.
    pub(super) fn look(&mut self, used_bytes: u64) {
        self.looked_at = Some(Instant::now());
        self.written_bytes = 0;
        self.used_bytes = used_bytes;
        match rustix::fs::statvfs(&self.directory) {
            Ok(found) => self.free_bytes = found.f_bavail.saturating_mul(found.f_frsize),
            Err(error) => tracing::warn!(%error, "the free room of the file system is not known"),
        }
        let ballast = self.options.ballast_bytes;
        if self.ballast && self.free_bytes < self.options.free_critical_bytes {
            self.release();
        } else if !self.ballast && ballast > 0 && self.free_bytes >= self.resume_bytes() + ballast {
            self.take();
        }
        let free = self.free_bytes.saturating_sub(if self.ballast { 0 } else { ballast });
        let (free_needed, used_max) = if self.full {
            (self.resume_bytes(), self.used_max - self.used_max / 16)
        } else {
            (self.options.free_low_bytes, self.used_max)
        };
        let full = free < free_needed || used_bytes >= used_max;
        if full != self.full {
            self.full = full;
            let (free_bytes, ballast) = (self.free_bytes, self.ballast);
            if full {
                tracing::warn!(free_bytes, used_bytes, ballast, "the storage is full: appends are refused");
            } else {
                tracing::info!(free_bytes, used_bytes, ballast, "the storage has room again");
            }
        }
    }

    fn resume_bytes(&self) -> u64 {
        self.options.free_low_bytes + self.options.free_low_bytes / 4
    }

    fn path(&self) -> PathBuf {
        self.directory.join("ballast")
    }

    fn release(&mut self) {
        match fs::remove_file(self.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::error!(%error, "the ballast cannot be given back");
            }
            _ => {
                self.ballast = false;
                self.free_bytes += self.options.ballast_bytes;
                tracing::warn!("the ballast is given back, so that acknowledgements can be written");
            }
        }
    }

    fn take(&mut self) {
        let path = self.path();
        let taken = OpenOptions::new().create(true).truncate(true).write(true).open(&path).and_then(|file| {
            // Not only a size: the blocks are taken.
            rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, self.options.ballast_bytes)
                .map_err(io::Error::from)
        });
        match taken {
            Ok(()) => {
                self.ballast = true;
                self.free_bytes = self.free_bytes.saturating_sub(self.options.ballast_bytes);
            }
            Err(error) => {
                tracing::warn!(%error, "there is no ballast: nothing will be given back when the disk is full");
                let _ = fs::remove_file(&path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ballast_takes_room_and_a_store_beyond_its_size_is_full_until_it_shrinks() {
        let dir = tempfile::tempdir().unwrap();
        let options = RoomOptions { ballast_bytes: 1 << 20, free_low_bytes: 0, free_critical_bytes: 0 };
        let mut room = Room::new(dir.path(), 1_600, options);
        room.look(1_599);
        assert!(!room.full());
        let ballast = fs::metadata(dir.path().join("ballast")).unwrap();
        assert!(std::os::unix::fs::MetadataExt::blocks(&ballast) * 512 >= 1 << 20);
        room.look(1_600);
        assert!(room.full());
        room.look(1_500);
        assert!(room.full(), "it does not flutter");
        room.look(1_499);
        assert!(!room.full());
    }

    #[test]
    fn a_disk_with_too_little_room_is_full_and_the_ballast_goes() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ballast"), "heavy").unwrap();
        let options = RoomOptions { ballast_bytes: 5, free_low_bytes: 1 << 62, free_critical_bytes: 1 << 61 };
        let mut room = Room::new(dir.path(), u64::MAX, options);
        room.look(0);
        assert!(room.full() && !dir.path().join("ballast").exists());
    }
}
