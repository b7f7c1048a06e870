//! What a process uses, from `/proc`.

use std::fs;

/// A look at the process.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
pub struct ProcessUsage {
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// Processor time of all threads, user and system, in seconds.
    pub cpu_seconds: f64,
    /// Open descriptors. Connections in `io_uring`'s tables are not among them.
    pub open_fds: u64,
}

impl ProcessUsage {
    /// Looks at this process. What `/proc` hides is zero.
    #[must_use]
    pub fn read() -> ProcessUsage {
        ProcessUsage::of("self")
    }

    /// Looks at a process by its number.
    #[must_use]
    pub fn of(process: &str) -> ProcessUsage {
        let read = |file: &str| fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default();
        let (statm, stat) = (read("statm"), read("stat"));
        ProcessUsage {
            resident_bytes: resident_pages(&statm).unwrap_or(0) * rustix::param::page_size() as u64,
            cpu_seconds: cpu_ticks(&stat).unwrap_or(0) as f64
                / rustix::param::clock_ticks_per_second() as f64,
            open_fds: open_fds(process),
        }
    }
}

/// The second number (proc_pid_statm(5)).
fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_whitespace().nth(1)?.parse().ok()
}

/// Fields 14 and 15, utime and stime (proc_pid_stat(5)); field 2, the name, may contain anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(ticks()? + ticks()?)
}

fn open_fds(process: &str) -> u64 {
    let path = format!("/proc/{process}/fd");
    // Since Linux 6.2 the directory's size is the number of its entries, which with epoll are many.
    match fs::metadata(&path).map(|directory| directory.len()) {
        Ok(0) | Err(_) => fs::read_dir(&path).map_or(0, |entries| entries.count() as u64),
        Ok(count) => count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "1 (a) b (c) S 1 1 1 0 -1 4194560 1 2 3 4 70 30 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_ticks(stat), Some(100));
        assert_eq!(cpu_ticks("1 (a"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let usage = ProcessUsage::read();
        assert!(usage.resident_bytes > 100_000 && usage.open_fds >= 3, "{usage:?}");
    }
}
