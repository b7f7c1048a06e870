//! What processes use, from `/proc` and the kernel's clocks, beyond what they tell of themselves.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context;
pub use campanile_telemetry::usage::Usage;
use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};

/// Memory of a process that it shares with nobody and has written to, in bytes: without its program's own pages.
///
/// # Errors
/// When there is no such process.
pub fn private_bytes(pid: u32) -> anyhow::Result<u64> {
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .with_context(|| format!("there is no process {pid} to look at"))?;
    field_bytes(&maps, "Private_Dirty").context("smaps_rollup has no Private_Dirty")
}

/// A size of this process by its name in `/proc/self/status` (proc_pid_status(5)), in bytes: `VmHWM`, `RssAnon`, …; 0
/// where that cannot be read.
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
    fn this_process_uses_something() {
        assert!(private_bytes(std::process::id()).expect("us") > 0);
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
