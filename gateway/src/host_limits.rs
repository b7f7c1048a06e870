//! What this machine allows: read from the kernel, `/proc` and the cgroup. Nothing is changed but the soft limit of
//! open files, which [`raise_nofile`] raises to the hard one.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;

/// A limit of the process; `None` is unlimited.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SoftHard {
    /// What is in force.
    pub soft: Option<u64>,
    /// What the process may raise it to.
    pub hard: Option<u64>,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The kernel's release.
    pub kernel: String,
    /// Why `io_uring` cannot be used; `None` when it can.
    pub uring_refused: Option<String>,
    /// Cores that the scheduler may use for this process.
    pub cores_allowed: usize,
    /// The cgroup's share of the processors, in cores; `None` when there is no quota.
    pub cpu_quota: Option<f64>,
    /// `RLIMIT_NOFILE`.
    pub nofile: SoftHard,
    /// `RLIMIT_MEMLOCK`, in bytes.
    pub memlock: SoftHard,
    /// Memory that is available, in bytes, the cgroup's limit included.
    pub memory_available_bytes: Option<u64>,
    /// The cgroup's limit of memory, in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// First and last port of outgoing connections.
    pub local_ports: Option<(u16, u16)>,
    /// `net.core.somaxconn`.
    pub somaxconn: Option<u64>,
    /// `net.ipv4.tcp_mem`: low, pressure and high, in bytes.
    pub tcp_memory_bytes: Option<[u64; 3]>,
    /// The seccomp mode of this process: 0 none, 1 strict, 2 filter.
    pub seccomp: Option<u64>,
}

impl Machine {
    /// Looks.
    #[must_use]
    pub fn read() -> Machine {
        let meminfo = read("/proc/meminfo");
        let available = field(&meminfo, "MemAvailable:").map(|kib| kib * 1024);
        let cgroup = Cgroup::read();
        let page = rustix::param::page_size() as u64;
        Machine {
            kernel: read("/proc/sys/kernel/osrelease").trim().into(),
            uring_refused: campanile_engine::probe::uring().err(),
            cores_allowed: campanile_engine::thread::allowed_cores().len(),
            cpu_quota: cgroup.cpu_quota,
            nofile: limit(Resource::Nofile),
            memlock: limit(Resource::Memlock),
            memory_available_bytes: match (available, cgroup.memory_room()) {
                (Some(machine), Some(group)) => Some(machine.min(group)),
                (machine, group) => machine.or(group),
            },
            memory_limit_bytes: cgroup.memory_limit,
            local_ports: ports(&read("/proc/sys/net/ipv4/ip_local_port_range")),
            somaxconn: read("/proc/sys/net/core/somaxconn").trim().parse().ok(),
            tcp_memory_bytes: three(&read("/proc/sys/net/ipv4/tcp_mem"))
                .map(|pages| pages.map(|count| count.saturating_mul(page))),
            seccomp: field(&read("/proc/self/status"), "Seccomp:"),
        }
    }

    /// Cores that shards can really use: with a quota, a thread on every core would only be stopped more often.
    #[must_use]
    pub fn cores(&self) -> usize {
        match self.cpu_quota {
            Some(quota) => self.cores_allowed.min(quota as usize).max(1),
            None => self.cores_allowed,
        }
    }

    /// Descriptors that the process may have once [`raise_nofile`] has been called.
    #[must_use]
    pub fn nofile(&self) -> u64 {
        self.nofile.hard.unwrap_or(u64::MAX)
    }
}

/// Raises the soft limit of open files to the hard one, and says how many there may be now.
pub fn raise_nofile() -> u64 {
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limits.maximum, maximum: limits.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limits.maximum,
        Err(_) => limits.current,
    }
    .unwrap_or(u64::MAX)
}

/// The limits of this process's control group, of version 2 or 1. A limit of any ancestor counts.
#[derive(Clone, Debug, Default, PartialEq)]
struct Cgroup {
    cpu_quota: Option<f64>,
    memory_limit: Option<u64>,
    memory_used: Option<u64>,
}

impl Cgroup {
    fn read() -> Cgroup {
        Cgroup::of(&read("/proc/self/cgroup"), Path::new("/sys/fs/cgroup"))
    }

    /// From the process's groups (`hierarchy:controllers:path`, cgroups(7)) and where they are mounted.
    fn of(groups: &str, mount: &Path) -> Cgroup {
        let mut found = Cgroup::default();
        for line in groups.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            let of = |name: &str| controllers.split(',').any(|controller| controller == name);
            let path = path.trim_start_matches('/');
            let groups = Path::new(path).ancestors();
            if controllers.is_empty() {
                groups.for_each(|group| found.add_v2(&mount.join(group)));
            } else if of("cpu") {
                groups.for_each(|group| found.add_cpu_v1(&mount.join("cpu").join(group)));
            } else if of("memory") {
                groups.for_each(|group| found.add_memory_v1(&mount.join("memory").join(group)));
            }
        }
        found
    }

    fn add_v2(&mut self, group: &Path) {
        let cpu = read_path(&group.join("cpu.max"));
        let mut cpu = cpu.split_whitespace().map(|number| number.parse::<f64>().ok());
        if let (Some(Some(quota)), Some(Some(period))) = (cpu.next(), cpu.next()) {
            self.add_quota(quota, period);
        }
        self.add_memory(&group.join("memory.max"), &group.join("memory.current"));
    }

    fn add_cpu_v1(&mut self, group: &Path) {
        let number = |name: &str| read_path(&group.join(name)).trim().parse::<f64>().ok();
        if let (Some(quota), Some(period)) = (number("cpu.cfs_quota_us"), number("cpu.cfs_period_us")) {
            self.add_quota(quota, period);
        }
    }

    fn add_memory_v1(&mut self, group: &Path) {
        self.add_memory(&group.join("memory.limit_in_bytes"), &group.join("memory.usage_in_bytes"));
    }

    fn add_quota(&mut self, quota: f64, period: f64) {
        // Version 1 writes −1 for no quota.
        if quota > 0.0 && period > 0.0 {
            let cores = quota / period;
            self.cpu_quota = Some(self.cpu_quota.map_or(cores, |known| known.min(cores)));
        }
    }

    fn add_memory(&mut self, limit: &Path, used: &Path) {
        /// Version 1 writes the largest whole page number for no limit.
        const UNLIMITED: u64 = 1 << 60;
        let Ok(limit) = read_path(limit).trim().parse::<u64>() else { return };
        if limit < UNLIMITED && self.memory_limit.is_none_or(|known| limit < known) {
            self.memory_limit = Some(limit);
            self.memory_used = read_path(used).trim().parse().ok();
        }
    }

    fn memory_room(&self) -> Option<u64> {
        self.memory_limit.map(|limit| limit.saturating_sub(self.memory_used.unwrap_or(0)))
    }
}

fn limit(resource: Resource) -> SoftHard {
    let limits = getrlimit(resource);
    SoftHard { soft: limits.current, hard: limits.maximum }
}

fn read(path: &str) -> String {
    read_path(Path::new(path))
}

/// What cannot be read is not known; containers hide much of it.
fn read_path(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The number behind `name` in a file of lines like `Name: 12 kB`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

fn ports(text: &str) -> Option<(u16, u16)> {
    let mut numbers = text.split_whitespace().map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

fn three(text: &str) -> Option<[u64; 3]> {
    let numbers: Option<Vec<u64>> = text.split_whitespace().map(|number| number.parse().ok()).collect();
    numbers?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_quota_of_version_2_counts_wherever_it_is_set() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a/cpu.max", "150000 100000\n");
        write(dir.path(), "a/b/cpu.max", "max 100000\n");
        write(dir.path(), "a/b/memory.max", "1000000\n");
        write(dir.path(), "a/b/memory.current", "400000\n");
        write(dir.path(), "a/memory.max", "max\n");
        let found = Cgroup::of("0::/a/b\n", dir.path());
        assert_eq!(found.cpu_quota, Some(1.5));
        assert_eq!((found.memory_limit, found.memory_room()), (Some(1_000_000), Some(600_000)));
    }

    #[test]
    fn version_1_is_understood_too() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "cpu/x/cpu.cfs_quota_us", "200000\n");
        write(dir.path(), "cpu/x/cpu.cfs_period_us", "100000\n");
        write(dir.path(), "cpu/cpu.cfs_quota_us", "-1\n");
        write(dir.path(), "cpu/cpu.cfs_period_us", "100000\n");
        write(dir.path(), "memory/x/memory.limit_in_bytes", "9223372036854771712\n");
        write(dir.path(), "memory/memory.limit_in_bytes", "5000\n");
        let found = Cgroup::of("4:memory:/x\n2:cpu,cpuacct:/x\n0::/\n", dir.path());
        assert_eq!(found, Cgroup { cpu_quota: Some(2.0), memory_limit: Some(5_000), memory_used: None });
    }

    #[test]
    fn no_group_is_no_limit() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Cgroup::of("0::/\nnonsense\n1:cpu", dir.path()), Cgroup::default());
    }

    #[test]
    fn a_quota_below_one_core_is_still_one_shard() {
        let machine = Machine { cores_allowed: 8, cpu_quota: Some(0.5), ..Machine::read() };
        assert_eq!(machine.cores(), 1);
        assert_eq!(Machine { cpu_quota: Some(3.7), ..machine.clone() }.cores(), 3);
        assert_eq!(Machine { cpu_quota: None, ..machine }.cores(), 8);
    }

    #[test]
    fn the_kernels_files_are_read() {
        assert_eq!(field("A: 1 kB\nMemAvailable:   2048 kB\n", "MemAvailable:"), Some(2_048));
        assert_eq!(ports("32768\t60999\n"), Some((32_768, 60_999)));
        assert_eq!(ports("32768"), None);
        assert_eq!(three("1 2 3\n"), Some([1, 2, 3]));
        let machine = Machine::read();
        assert!(!machine.kernel.is_empty() && machine.cores_allowed > 0);
    }
}
