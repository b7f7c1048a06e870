//! What the kernel keeps for sockets, so that a bare socket and a gateway's are measured by one method.
//!
//! Sockets, their inodes, files, descriptor-table nodes and armed polls are slab objects; tables are vmalloc or
//! slab. So the memory of n connections is the growth of [`KernelMemory::bytes`] divided by n, where
//! `bytes` = `Slab` (`SReclaimable` + `SUnreclaim`; a socket's inode is counted as reclaimable, the socket is not)
//! + `PageTables` + `KernelStack` + `Percpu` + `VmallocUsed` of `/proc/meminfo`.
//!
//! The method, to be kept the same whoever accepts:
//! 1. Start server and client; set up all rings and tables. [`KernelMemory::settled`] → *before*.
//! 2. The client makes its n sockets and binds their addresses. → *opened*. (*opened* − *before*) / n is one end
//!    as the client holds it: socket, inode, file, table node.
//! 3. The client connects, the server accepts and holds. → *held*. (*held* − *opened*) / n is the accepting end,
//!    together with what connecting adds at the client: the entry of its port, which is little and always the same.
//! 4. The server arms what it waits with. → *armed*. (*armed* − *held*) / n is what waiting costs.
//!
//! The counters are of the whole machine: nothing else should start or end meanwhile, and n should be 10,000 or
//! more, since slabs grow by pages and batches. Data waiting in sockets is in the slab as well; `tcp_pages` says
//! whether there is any. User memory is not in it.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context;
use campanile_harness::usage::field_bytes;

/// The kernel folds its per-processor counters once a second, and frees by RCU a little later.
const SETTLE_STEP: Duration = Duration::from_millis(1200);

/// Two readings closer than this are the same.
const SETTLE_BYTES: u64 = 256 * 1024;

/// Readings until the last is taken as it is.
const SETTLE_STEPS_MAX: u32 = 8;

/// One reading. All values but the last are bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KernelMemory {
    /// Slab memory that the kernel could give back under pressure.
    pub(crate) slab_reclaimable: u64,
    /// Slab memory that it could not.
    pub(crate) slab_unreclaimable: u64,
    /// Page tables of all processes.
    pub(crate) page_tables: u64,
    /// Kernel stacks of all threads.
    pub(crate) kernel_stack: u64,
    /// Per-processor allocations.
    pub(crate) percpu: u64,
    /// Memory mapped by vmalloc.
    pub(crate) vmalloc_used: u64,
    /// Pages that TCP accounts for data in buffers, from `/proc/net/sockstat`; not part of [`Self::bytes`].
    pub(crate) tcp_pages: u64,
}

impl KernelMemory {
    /// Reads the counters now.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let meminfo = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
        let sockstat = fs::read_to_string("/proc/net/sockstat").context("cannot read /proc/net/sockstat")?;
        Self::parse(&meminfo, &sockstat)
    }

    /// Reads the counters when they have stopped moving; takes at least 1.2 s, at most about 10 s.
    pub(crate) fn settled() -> anyhow::Result<Self> {
        let mut last = Self::read()?;
        for _ in 0..SETTLE_STEPS_MAX {
            sleep(SETTLE_STEP);
            let now = Self::read()?;
            if now.bytes().abs_diff(last.bytes()) < SETTLE_BYTES {
                return Ok(now);
            }
            last = now;
        }
        Ok(last)
    }

    /// The sum that is compared, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.slab_reclaimable
            + self.slab_unreclaimable
            + self.page_tables
            + self.kernel_stack
            + self.percpu
            + self.vmalloc_used
    }

    /// Growth since `before` in bytes per connection; negative if the memory has shrunk.
    pub(crate) fn bytes_per_connection_since(&self, before: &Self, connections: u32) -> f64 {
        (self.bytes() as f64 - before.bytes() as f64) / f64::from(connections)
    }

    fn parse(meminfo: &str, sockstat: &str) -> anyhow::Result<Self> {
        let bytes = |name| field_bytes(meminfo, name).with_context(|| format!("/proc/meminfo has no {name}"));
        Ok(Self {
            slab_reclaimable: bytes("SReclaimable")?,
            slab_unreclaimable: bytes("SUnreclaim")?,
            page_tables: bytes("PageTables")?,
            kernel_stack: bytes("KernelStack")?,
            percpu: bytes("Percpu")?,
            vmalloc_used: bytes("VmallocUsed")?,
            tcp_pages: tcp_pages(sockstat).context("/proc/net/sockstat has no TCP memory")?,
        })
    }
}

/// How much memory could be had without swapping, in bytes.
pub(crate) fn available_bytes() -> anyhow::Result<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    field_bytes(&meminfo, "MemAvailable").context("/proc/meminfo has no MemAvailable")
}

/// The number after `mem` in the line of `TCP:`.
fn tcp_pages(sockstat: &str) -> Option<u64> {
    let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = line.split_whitespace();
    words.find(|word| *word == "mem")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal: 100 kB\nKReclaimable: 9 kB\nSlab: 5 kB\nSReclaimable: 2 kB\nSUnreclaim: 3 kB\n\
                           KernelStack: 16 kB\nPageTables: 8 kB\nSecPageTables: 99 kB\nVmallocUsed: 7 kB\nPercpu: 1 kB\n";
    const SOCKSTAT: &str =
        "sockets: used 77\nTCP: inuse 5 orphan 0 tw 1 alloc 6 mem 12\nUDP: inuse 1 mem 3\n";

    #[test]
    fn the_sum_counts_each_kind_once() {
        let memory = KernelMemory::parse(MEMINFO, SOCKSTAT).expect("complete input");
        assert_eq!(memory.bytes(), (2 + 3 + 16 + 8 + 7 + 1) * 1024);
        assert_eq!(memory.tcp_pages, 12);
    }

    #[test]
    fn a_missing_counter_is_an_error_and_not_zero() {
        assert!(KernelMemory::parse("SReclaimable: 2 kB\n", SOCKSTAT).is_err());
        assert!(KernelMemory::parse(MEMINFO, "UDP: inuse 1 mem 3\n").is_err());
    }

    #[test]
    fn growth_is_divided_by_the_connections() {
        let before = KernelMemory::default();
        let after = KernelMemory { slab_unreclaimable: 40_000, ..before };
        assert_eq!(after.bytes_per_connection_since(&before, 10), 4000.0);
        assert_eq!(before.bytes_per_connection_since(&after, 10), -4000.0);
    }
}
