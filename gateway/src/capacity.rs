//! How many shards, with how many slots each, hold the connections that are wanted.
//!
//! With `io_uring` each shard has a descriptor table of its own, which may have as many entries as `RLIMIT_NOFILE`
//! says; more shards hold more connections. With `epoll` all shards share the process's descriptors, and
//! `RLIMIT_NOFILE` is the end. Users spread over the shards by a hash, never quite evenly, so every table gets
//! room for that.

use std::num::NonZeroUsize;

use campanile_core::limits::{SLOTS_SPARE, connections_per_shard_max};
use campanile_engine::DriverKind;

/// The most shards of one node.
pub const SHARDS_MAX: usize = 256;
/// Descriptors kept for everything but connections, at least: files, the API's connections, rings.
pub const DESCRIPTORS_RESERVED_MIN: u32 = 256;
/// The most connections that publishers may have at the same time.
pub const API_CONNECTIONS_MAX: u64 = 1_024;
/// The most connections that devices that poll may have at the same time.
pub const DEVICES_CONNECTIONS_MAX: u64 = 1_024;
/// Connections that operators may have at the same time.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// The smallest `RLIMIT_NOFILE` that a node runs with.
pub const NOFILE_MIN: u64 = 1_024;

/// Uneven spreading, relative: one part in so many above the average (8 %).
const UNEVEN_PERCENT: u64 = 8;
/// Uneven spreading, absolute: what counts when a shard has few connections.
const UNEVEN_SLOTS: u32 = 256;
/// Descriptors of one shard: its ring, a duplicate, event descriptors, its listener.
const DESCRIPTORS_PER_SHARD: u32 = 8;

/// What the machine allows and what the operator wants.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The driver.
    pub driver: DriverKind,
    /// Cores that the process may use, a cgroup's quota included.
    pub cores: usize,
    /// `RLIMIT_NOFILE`.
    pub nofile: u64,
    /// `limits.max_connections`.
    pub max_connections: u32,
    /// The operator's own number of shards.
    pub shards: Option<NonZeroUsize>,
}

/// How the node is divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How many shards.
    pub shards: usize,
    /// Entries of each shard's table, [`SLOTS_SPARE`] included.
    pub slots_per_shard: u32,
    /// Connections of the node: what is wanted, or less if that cannot be reached.
    pub connections_max: u32,
    /// Why it cannot be reached, and what to change.
    pub warning: Option<String>,
}

impl Plan {
    /// Connections with which a shard stops accepting.
    #[must_use]
    pub const fn connections_per_shard_max(&self) -> u32 {
        connections_per_shard_max(self.slots_per_shard)
    }
}

/// Connections that publishers may have at the same time: a part of the descriptors that are not for sessions.
#[must_use]
pub fn api_connections_max(nofile: u64) -> usize {
    (nofile / 16).clamp(64, API_CONNECTIONS_MAX) as usize
}

/// Connections that devices that poll may have at the same time: as many as publishers, and none of theirs.
#[must_use]
pub fn devices_connections_max(nofile: u64) -> usize {
    (nofile / 16).clamp(64, DEVICES_CONNECTIONS_MAX) as usize
}

/// The machine allows so few descriptors that a node makes no sense.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the limit of open files (nofile) is {nofile}, at least {NOFILE_MIN} are needed: raise it with `ulimit -n`"
)]
pub struct TooFewDescriptors {
    /// `RLIMIT_NOFILE`.
    pub nofile: u64,
}

/// Divides the node.
///
/// # Errors
/// When `nofile` is below [`NOFILE_MIN`].
pub fn plan(wanted: Wanted) -> Result<Plan, TooFewDescriptors> {
    if wanted.nofile < NOFILE_MIN {
        return Err(TooFewDescriptors { nofile: wanted.nofile });
    }
    let nofile = u32::try_from(wanted.nofile).unwrap_or(u32::MAX);
    let cores = wanted.cores.clamp(1, SHARDS_MAX);
    Ok(match wanted.driver {
        DriverKind::Uring => plan_uring(wanted, nofile, cores),
        DriverKind::Epoll => plan_epoll(wanted, nofile, cores),
    })
}

fn plan_uring(wanted: Wanted, nofile: u32, cores: usize) -> Plan {
    // Rings and their listeners are descriptors of the process, which nofile bounds too.
    let most = SHARDS_MAX.min(((nofile - DESCRIPTORS_RESERVED_MIN) / DESCRIPTORS_PER_SHARD) as usize);
    let fewest = (1..most).find(|&shards| slots(wanted.max_connections, shards) <= nofile).unwrap_or(most);
    let shards = wanted.shards.map_or(cores.max(fewest), NonZeroUsize::get).min(most);
    let connections_max = fitting(nofile, shards).min(wanted.max_connections);
    let warning = (connections_max < wanted.max_connections).then(|| {
        format!(
            "{shards} shards hold {connections_max} connections, not {}: a shard's table has at most {nofile} \
             entries (nofile); {}",
            wanted.max_connections,
            if fewest == most { "raise nofile".into() } else { format!("raise nofile or use {fewest} shards") }
        )
    });
    Plan { shards, slots_per_shard: slots(connections_max, shards).min(nofile), connections_max, warning }
}

fn plan_epoll(wanted: Wanted, nofile: u32, cores: usize) -> Plan {
    let shards = wanted.shards.map_or(cores, |shards| shards.get().min(SHARDS_MAX));
    // At least one, though there be more shards than descriptors.
    let available = nofile.saturating_sub(descriptors_reserved(nofile, shards)).max(1);
    let connections_max = available.min(wanted.max_connections);
    let warning = (connections_max < wanted.max_connections).then(|| {
        format!(
            "epoll holds {connections_max} connections, not {}: all shards share {nofile} descriptors (nofile), \
             of which some are kept for other things; raise nofile, or use io_uring",
            wanted.max_connections
        )
    });
    Plan { shards, slots_per_shard: slots(connections_max, shards), connections_max, warning }
}

/// Descriptors that are not for devices when `epoll` shares them all.
fn descriptors_reserved(nofile: u32, shards: usize) -> u32 {
    let shards = u32::try_from(shards).unwrap_or(u32::MAX);
    let http = api_connections_max(nofile.into()) + devices_connections_max(nofile.into());
    let http = (http + ADMIN_CONNECTIONS_MAX) as u32;
    DESCRIPTORS_RESERVED_MIN.max(128 + http + shards.saturating_mul(DESCRIPTORS_PER_SHARD))
}

/// The table that a shard needs when `connections` spread over `shards`.
fn slots(connections: u32, shards: usize) -> u32 {
    let average = u64::from(connections).div_ceil(shards as u64);
    let slots = (average * (100 + UNEVEN_PERCENT)).div_ceil(100) + u64::from(UNEVEN_SLOTS + SLOTS_SPARE);
    u32::try_from(slots).unwrap_or(u32::MAX)
}

/// How many connections fit into `shards` tables of `nofile` entries; the inverse of [`slots`].
fn fitting(nofile: u32, shards: usize) -> u32 {
    let average = u64::from(nofile - UNEVEN_SLOTS - SLOTS_SPARE) * 100 / (100 + UNEVEN_PERCENT);
    u32::try_from(average * shards as u64).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uring(cores: usize, nofile: u64, max_connections: u32) -> Wanted {
        Wanted { driver: DriverKind::Uring, cores, nofile, max_connections, shards: None }
    }

    fn epoll(cores: usize, nofile: u64, max_connections: u32) -> Wanted {
        Wanted { driver: DriverKind::Epoll, ..uring(cores, nofile, max_connections) }
    }

    #[test]
    fn a_hundred_thousand_connections_need_six_tables_of_twenty_thousand() {
        let plan = plan(uring(2, 20_000, 100_000)).unwrap();
        assert_eq!((plan.shards, plan.connections_max, plan.warning.as_deref()), (6, 100_000, None));
        assert!(plan.slots_per_shard <= 20_000);
        assert!(plan.connections_per_shard_max() >= 18_000, "8 % above the average of 16,667");
    }

    #[test]
    fn as_many_shards_as_cores_when_one_table_would_do() {
        let plan = plan(uring(8, 1_000_000, 100_000)).unwrap();
        assert_eq!((plan.shards, plan.warning), (8, None));
        assert!(plan.slots_per_shard < 15_000, "no larger than needed");
    }

    #[test]
    fn what_is_promised_always_fits_the_tables() {
        for nofile in [1_024, 4_096, 20_000, 65_536, 1 << 20, u64::MAX] {
            for max_connections in [1, 1_000, 100_000, 10_000_000] {
                for shards in [None, NonZeroUsize::new(1), NonZeroUsize::new(7)] {
                    let wanted = Wanted { shards, ..uring(2, nofile, max_connections) };
                    let plan = plan(wanted).unwrap();
                    assert!(u64::from(plan.slots_per_shard) <= nofile, "{wanted:?} gave {plan:?}");
                    let room = u64::from(plan.connections_per_shard_max()) * plan.shards as u64;
                    assert!(room >= u64::from(plan.connections_max), "{wanted:?} gave {plan:?}");
                    assert_eq!(plan.warning.is_some(), plan.connections_max < max_connections);
                    assert!(plan.connections_max > 0);
                    let asked = shards.map_or(plan.shards, NonZeroUsize::get);
                    assert_eq!(plan.shards, asked, "the operator decides");
                }
            }
        }
    }

    #[test]
    fn too_few_shards_by_hand_are_warned_about_with_the_number_that_would_do() {
        let wanted = Wanted { shards: NonZeroUsize::new(2), ..uring(2, 20_000, 100_000) };
        let plan = plan(wanted).unwrap();
        assert_eq!((plan.shards, plan.connections_max), (2, 36_088));
        assert!(plan.warning.unwrap().contains("use 6 shards"));
    }

    #[test]
    fn epoll_shares_the_descriptors() {
        let small = plan(epoll(2, 20_000, 10_000)).unwrap();
        assert_eq!((small.shards, small.connections_max, small.warning), (2, 10_000, None));
        let large = plan(epoll(2, 20_000, 100_000)).unwrap();
        assert_eq!((large.shards, large.connections_max), (2, 17_744));
        assert!(large.warning.unwrap().contains("nofile"));
    }

    #[test]
    fn a_small_table_keeps_half_of_its_slots_for_connections() {
        for (slots, connections) in
            [(0, 0), (1, 0), (8, 4), (256, 128), (512, 256), (513, 257), (20_000, 19_744)]
        {
            assert_eq!(connections_per_shard_max(slots), connections, "{slots} slots");
        }
    }

    #[test]
    fn the_api_and_the_devices_never_want_more_descriptors_than_there_are() {
        for nofile in [1_024, 2_048, 4_096, 20_000, 1 << 20] {
            for cores in [1, 2, 16] {
                let plan = plan(epoll(cores, nofile, u32::MAX)).unwrap();
                let rings = u64::from(DESCRIPTORS_PER_SHARD) * plan.shards as u64;
                let http = api_connections_max(nofile) + devices_connections_max(nofile);
                let http = (http + ADMIN_CONNECTIONS_MAX) as u64;
                assert!(u64::from(plan.connections_max) + http + rings < nofile, "{nofile}: {plan:?}");
            }
        }
    }

    #[test]
    fn hardly_any_descriptors_are_an_error_that_says_what_to_do() {
        let error = plan(uring(2, 512, 100)).unwrap_err();
        assert!(error.to_string().contains("ulimit -n"), "{error}");
    }
}
