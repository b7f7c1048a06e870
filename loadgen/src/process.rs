//! What this process itself costs.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CPU time of all threads since the start of the process.
pub fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(spent.tv_sec.unsigned_abs(), spent.tv_nsec.unsigned_abs() as u32)
}

/// Resident memory now and at its highest, in bytes; `None` where `/proc` cannot be read.
pub fn resident_bytes() -> (Option<u64>, Option<u64>) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1_024)
    };
    (field("VmRSS:"), field("VmHWM:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_runs_has_used_something() {
        let (now, most) = resident_bytes();
        assert!(now > Some(100_000) && most >= now, "{now:?} {most:?}");
        let before = cpu();
        let spin = (0..3_000_000u64).fold(1u64, |sum, value| std::hint::black_box(sum ^ value));
        assert!(cpu() > before, "{spin}");
    }
}
