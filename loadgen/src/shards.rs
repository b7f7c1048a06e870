//! The threads that run fleets, each with its driver.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{Builder, JoinHandle};

use campanile_engine::epoll::Epoll;
use campanile_engine::uring::Uring;
use campanile_engine::{DriverKind, Peers, run, thread};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::fleet::control::Control;
use crate::fleet::{Fleet, FleetSettings};
use crate::saturation;
use crate::stats::Stats;

/// Slots of a table beyond the fleet's devices: connections that failed and are still closing.
const SLOTS_SPARE: u32 = 256;
/// Descriptors that everything but devices needs.
const DESCRIPTORS_SPARE: u64 = 128;
/// Devices for which another core is worth a thread.
const DEVICES_PER_CORE_MIN: u32 = 2_000;

/// Threads that run fleets.
pub struct Shards {
    threads: Vec<JoinHandle<Result<(), String>>>,
    peers: Arc<Peers<()>>,
    /// What each of them counts.
    pub stats: Vec<Arc<Stats>>,
}

/// How many descriptors this process may have, after the soft limit was raised to the hard one.
pub fn descriptors_max() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused, the limit stays as it is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many shards `devices` need: `RLIMIT_NOFILE` bounds the table of each ring, but for `epoll` all tables
/// together.
///
/// # Errors
/// In words for the operator: too many devices for the driver or for `asked` shards.
pub fn count(kind: DriverKind, devices: u32, asked: Option<u32>, descriptors: u64) -> Result<u32, String> {
    let room = descriptors.saturating_sub(DESCRIPTORS_SPARE);
    if kind == DriverKind::Epoll && u64::from(devices) > room {
        return Err(format!(
            "{devices} connections need more descriptors than the {descriptors} that RLIMIT_NOFILE allows; with the \
             io_uring driver the limit holds for each shard alone"
        ));
    }
    let room = u32::try_from(room.min(u64::from(u32::MAX))).unwrap_or(u32::MAX).saturating_sub(SLOTS_SPARE);
    let needed = devices.div_ceil(room.max(1));
    let cores = u32::try_from(thread::allowed_cores().len()).unwrap_or(1);
    let wanted = cores.min(devices / DEVICES_PER_CORE_MIN).max(1);
    match asked {
        Some(asked) if asked < needed && kind == DriverKind::Uring => Err(format!(
            "{devices} connections need {needed} shards, since RLIMIT_NOFILE allows {descriptors} descriptors to each"
        )),
        Some(asked) => Ok(asked),
        None if kind == DriverKind::Epoll => Ok(wanted),
        None => Ok(wanted.max(needed)),
    }
}

impl Shards {
    /// Starts `count` threads; on return all of them wait for [`Control::connect`].
    ///
    /// # Errors
    /// In words for the operator: the kernel refuses a thread, a ring, a table or the core.
    pub fn start(
        kind: DriverKind,
        count: u32,
        core: Option<usize>,
        settings: &Arc<FleetSettings>,
        control: &Arc<Control>,
    ) -> Result<Shards, String> {
        let peers = Peers::new(count as usize).map_err(|error| format!("no descriptors left: {error}"))?;
        let mut shards = Shards { threads: Vec::new(), peers, stats: Vec::new() };
        let (ready, started) = channel();
        for index in 0..count {
            let stats = Arc::new(Stats::default());
            shards.stats.push(Arc::clone(&stats));
            let (settings, control, ready) = (Arc::clone(settings), Arc::clone(control), ready.clone());
            let peers = Arc::clone(&shards.peers);
            let body = move || {
                pin(core)?;
                stats.thread.raise(saturation::this_thread());
                let fleet = Fleet::new(index, count, settings, control, stats, fastrand::u64(..))?;
                drive(kind, index, peers, fleet, ready)
            };
            let thread = Builder::new().name(format!("devices-{index}")).spawn(body);
            shards.threads.push(thread.map_err(|error| format!("a thread cannot be started: {error}"))?);
        }
        drop(ready);
        if started.iter().count() < count as usize {
            control.close();
            shards.wake();
            shards.join()?;
            return Err("a shard ended before it began".into());
        }
        Ok(shards)
    }

    /// Lets every shard look at what it is told.
    pub fn wake(&self) {
        for index in 0..self.peers.count() {
            self.peers.waker(index).wake();
        }
    }

    /// Whether a shard has ended.
    pub fn any_ended(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Waits for the end of all shards.
    ///
    /// # Errors
    /// What the first that failed says.
    pub fn join(&mut self) -> Result<(), String> {
        let ends: Vec<_> = self.threads.drain(..).map(JoinHandle::join).collect();
        ends.into_iter().try_for_each(|end| end.unwrap_or_else(|_| Err("a shard has panicked".into())))
    }
}

/// Keeps this thread on `core`, if one is given.
///
/// # Errors
/// In words for the operator.
pub fn pin(core: Option<usize>) -> Result<(), String> {
    core.map_or(Ok(()), |core| {
        thread::pin(core).map_err(|error| format!("cannot run on core {core}: {error}"))
    })
}

/// Makes the driver on this thread and runs the fleet to its end. Says on `ready` that it is about to.
fn drive(
    kind: DriverKind,
    index: u32,
    peers: Arc<Peers<()>>,
    mut fleet: Fleet,
    ready: Sender<()>,
) -> Result<(), String> {
    let slots = fleet.devices_of_its_own() + SLOTS_SPARE;
    let refused = |error| format!("the {kind} driver cannot be set up for {slots} connections: {error}");
    match kind {
        DriverKind::Uring => {
            let mut driver = Uring::new(index as usize, peers, slots, None).map_err(refused)?;
            say_ready(ready);
            run(&mut driver, &mut fleet)
        }
        DriverKind::Epoll => {
            let mut driver = Epoll::new(index as usize, peers, slots, None).map_err(refused)?;
            say_ready(ready);
            run(&mut driver, &mut fleet)
        }
    }
    .map_err(|error| format!("the {kind} driver no longer works: {error}"))
}

/// Consumes the sender: the other side counts what it gets until nobody can send any more.
fn say_ready(ready: Sender<()>) {
    // Whoever no longer listens has given up already.
    let _ = ready.send(());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ring_has_a_table_of_its_own_but_epoll_shares_one() {
        assert_eq!(count(DriverKind::Uring, 100_000, None, 20_000), Ok(6));
        assert_eq!(count(DriverKind::Uring, 1_000, None, 20_000), Ok(1));
        assert_eq!(count(DriverKind::Uring, 100_000, Some(8), 20_000), Ok(8));
        assert!(count(DriverKind::Uring, 100_000, Some(5), 20_000).is_err());
        assert!(count(DriverKind::Epoll, 19_000, Some(3), 20_000) == Ok(3));
        assert!(count(DriverKind::Epoll, 20_000, None, 20_000).is_err());
    }
}
