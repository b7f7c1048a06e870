//! What processes use, from `/proc`.

use std::collections::HashMap;
use std::{fs, io};

use rustix::param::{clock_ticks_per_second, page_size};

/// A look at a process.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// Resident memory in bytes; what processes share counts for each.
    pub resident_bytes: u64,
    /// Processor time of all threads, user and system, in seconds, to a hundredth.
    pub cpu_seconds: f64,
    /// Threads.
    pub threads: u64,
    /// Open descriptors. Connections in `io_uring`'s tables are not among them.
    pub open_fds: u64,
}

impl Usage {
    /// Looks at this process. What `/proc` hides is zero.
    #[must_use]
    pub fn own() -> Usage {
        Usage::read("self").unwrap_or_default()
    }

    /// Looks at a process by its number.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of(pid: u32) -> io::Result<Usage> {
        Usage::read(&pid.to_string()).map_err(|error| no_process(pid, error))
    }

    /// The sum over a process and all that it has started, and those have.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of_all_of(pid: u32) -> io::Result<Usage> {
        let mut processes = HashMap::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            // One that has ended meanwhile has no figures.
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            processes.insert(pid, Stat::parse(&stat)?);
        }
        if !processes.contains_key(&pid) {
            return Err(no_process(pid, io::ErrorKind::NotFound.into()));
        }
        let of_it = processes.iter().filter(|&(&process, _)| descends(process, pid, &processes));
        Ok(of_it.fold(Usage::default(), |sum, (&process, stat)| {
            let usage = stat.usage(open_fds(&process.to_string()));
            Usage {
                resident_bytes: sum.resident_bytes + usage.resident_bytes,
                cpu_seconds: sum.cpu_seconds + usage.cpu_seconds,
                threads: sum.threads + usage.threads,
                open_fds: sum.open_fds + usage.open_fds,
            }
        }))
    }

    fn read(process: &str) -> io::Result<Usage> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        Ok(Stat::parse(&stat)?.usage(open_fds(process)))
    }
}

/// What is read of `/proc/…/stat` (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// User and system time.
    ticks: u64,
    threads: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(stat: &str) -> io::Result<Stat> {
        Stat::parts(stat).ok_or_else(|| io::Error::other("/proc/…/stat is not understood"))
    }

    fn parts(stat: &str) -> Option<Stat> {
        // The name, in parentheses, may contain anything; the third field follows it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Stat {
            parent: u32::try_from(field(4)?).ok()?,
            ticks: field(14)? + field(15)?,
            threads: field(20)?,
            resident_pages: field(24)?,
        })
    }

    fn usage(&self, open_fds: u64) -> Usage {
        Usage {
            resident_bytes: self.resident_pages * page_size() as u64,
            cpu_seconds: self.ticks as f64 / clock_ticks_per_second() as f64,
            threads: self.threads,
            open_fds,
        }
    }
}

fn no_process(pid: u32, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("there is no process {pid} to look at: {error}"))
}

fn open_fds(process: &str) -> u64 {
    let path = format!("/proc/{process}/fd");
    // Since Linux 6.2 the directory's size is the number of its entries, which with epoll are many.
    match fs::metadata(&path).map(|directory| directory.len()) {
        Ok(0) | Err(_) => fs::read_dir(&path).map_or(0, |entries| entries.count() as u64),
        Ok(count) => count,
    }
}

/// Whether `pid` is `ancestor` or was started by it or one of its own.
fn descends(pid: u32, ancestor: u32, processes: &HashMap<u32, Stat>) -> bool {
    let mut next = Some(pid);
    // A process number that is reused while they are read could make a circle.
    for _ in 0..=processes.len() {
        match next {
            Some(pid) if pid == ancestor => return true,
            Some(pid) => next = processes.get(&pid).map(|process| process.parent),
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 500 60 0 0 20 0 9 0 99 1000000 321 18446744073709551615";
        let parsed = Stat { parent: 7, ticks: 560, threads: 9, resident_pages: 321 };
        assert_eq!(Stat::parse(stat).unwrap(), parsed);
        assert!(Stat::parse("42 (a) S 7").is_err());
    }

    #[test]
    fn children_of_children_belong_to_a_process() {
        let process = |parent| Stat { parent, ticks: 0, threads: 1, resident_pages: 0 };
        let family = [(1, 0), (5, 1), (6, 5), (7, 6), (8, 1)];
        let processes: HashMap<u32, Stat> = family.map(|(pid, parent)| (pid, process(parent))).into();
        let of_five: Vec<bool> =
            [1, 5, 6, 7, 8, 99].iter().map(|&pid| descends(pid, 5, &processes)).collect();
        assert_eq!(of_five, [false, true, true, true, false, false]);
        let circle = HashMap::from([(1, process(2)), (2, process(1))]);
        assert!(!descends(1, 5, &circle));
    }

    #[test]
    fn this_process_uses_something() {
        let pid = std::process::id();
        for usage in [Usage::own(), Usage::of(pid).unwrap(), Usage::of_all_of(pid).unwrap()] {
            assert!(usage.resident_bytes > 100_000 && usage.open_fds >= 3 && usage.threads >= 1, "{usage:?}");
        }
        assert!(Usage::of(u32::MAX).is_err() && Usage::of_all_of(u32::MAX).is_err());
    }
}
