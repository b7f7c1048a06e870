//! What processes use, from `/proc` and the kernel's clocks.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::time::{ClockId, clock_gettime};

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
    pub fn of(pid: u32) -> anyhow::Result<Usage> {
        Usage::read(&pid.to_string()).with_context(|| format!("there is no process {pid} to look at"))
    }

    /// The sum over a process and all that it has started, and those have.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of_all_of(pid: u32) -> anyhow::Result<Usage> {
        let mut processes = HashMap::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            // One that has ended meanwhile has no figures.
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            processes.insert(pid, Stat::parse(&stat).context("/proc/…/stat is not understood")?);
        }
        ensure!(processes.contains_key(&pid), "there is no process {pid} to look at");
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

    fn read(process: &str) -> anyhow::Result<Usage> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        let stat = Stat::parse(&stat).context("/proc/…/stat is not understood")?;
        Ok(stat.usage(open_fds(process)))
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
    fn parse(stat: &str) -> Option<Stat> {
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

/// Memory of a process that it shares with nobody and has written to, in bytes: without its program's own pages.
///
/// # Errors
/// When there is no such process.
pub fn private_bytes(pid: u32) -> anyhow::Result<u64> {
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .with_context(|| format!("there is no process {pid} to look at"))?;
    field_bytes(&maps, "Private_Dirty").context("smaps_rollup has no Private_Dirty")
}

/// A size of this process by its name in `/proc/self/status` (proc_pid_status(5)), in bytes: `VmHWM`, `RssAnon`, …; 0 where
/// that cannot be read.
#[must_use]
pub fn own_status_bytes(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    field_bytes(&status, name).unwrap_or(0)
}

/// The value of a line such as `VmRSS:   1234 kB`, in bytes.
#[must_use]
pub fn field_bytes(text: &str, name: &str) -> Option<u64> {
    let (_, value) = text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| *key == name)?;
    let kibibytes: u64 = value.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// CPU time of all threads of this process so far.
#[must_use]
pub fn own_cpu() -> Duration {
    clock(ClockId::ProcessCPUTime)
}

/// CPU time of this thread so far.
#[must_use]
pub fn thread_cpu() -> Duration {
    clock(ClockId::ThreadCPUTime)
}

fn clock(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

/// Watches how much CPU others take while something is measured, so that spoilt figures are seen to be spoilt.
#[derive(Debug)]
pub struct OtherLoad {
    start: Instant,
    busy: Duration,
    own: Duration,
}

impl OtherLoad {
    /// Starts to watch.
    ///
    /// # Errors
    /// When `/proc/stat` cannot be read.
    pub fn watch() -> anyhow::Result<OtherLoad> {
        Ok(OtherLoad { start: Instant::now(), busy: machine_cpu()?, own: own_cpu() })
    }

    /// What processes other than this one and those that took `known_seconds` have taken since, and what the hypervisor
    /// has withheld, on all cores together: in percent of one core, to about 1 % a second.
    ///
    /// # Errors
    /// When `/proc/stat` cannot be read.
    pub fn core_percent(&self, known_seconds: f64) -> anyhow::Result<f64> {
        let wall = self.start.elapsed().as_secs_f64();
        let busy = machine_cpu()?.saturating_sub(self.busy).as_secs_f64();
        let own = (own_cpu() - self.own).as_secs_f64() + known_seconds;
        Ok((busy - own).max(0.0) / wall * 100.0)
    }
}

/// CPU time that was not idle so far, of all cores.
fn machine_cpu() -> anyhow::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let ticks = busy_ticks(&stat).context("/proc/stat has no line for all cores")?;
    Ok(Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64))
}

/// user, nice, system, irq, softirq and steal of the first line, without idle and iowait; guest time is part of user.
fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|number| number.parse().ok()).collect();
    Some(ticks.get(0..3)?.iter().sum::<u64>() + ticks.get(5..8)?.iter().sum::<u64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 500 60 0 0 20 0 9 0 99 1000000 321 18446744073709551615";
        let parsed = Stat { parent: 7, ticks: 560, threads: 9, resident_pages: 321 };
        assert_eq!(Stat::parse(stat), Some(parsed));
        assert_eq!(Stat::parse("42 (a) S 7"), None);
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
        for usage in [Usage::own(), Usage::of(pid).expect("us"), Usage::of_all_of(pid).expect("us")] {
            assert!(usage.resident_bytes > 100_000 && usage.open_fds >= 3 && usage.threads >= 1, "{usage:?}");
        }
        assert!(Usage::of(u32::MAX).is_err() && Usage::of_all_of(u32::MAX).is_err());
        assert!(private_bytes(pid).expect("us") > 0);
        assert!(own_status_bytes("VmHWM") > 100_000 && own_status_bytes("VmNone") == 0);
        let before = own_cpu();
        let spin = (0..3_000_000u64).fold(1u64, |sum, value| std::hint::black_box(sum ^ value));
        assert!(own_cpu() > before, "{spin}");
    }

    #[test]
    fn waiting_is_not_work() {
        let stat = "cpu  1 20 300 9999 8888 4000 50000 600000 7 7\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(busy_ticks(stat), Some(654_321));
        assert_eq!(busy_ticks("cpu  1 2 3 4\n"), None);
    }
}
