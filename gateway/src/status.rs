//! What the node is, and which part of its life it is in.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime};

use campanile_engine::DriverKind;

/// Which part of its life a node is in.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The shards are being made.
    Starting,
    /// Devices can connect.
    Ready,
    /// Devices are being sent away.
    Draining,
}

/// The node, as others see it.
#[derive(Debug)]
pub struct NodeStatus {
    /// Made up at each start, 16 hexadecimal digits.
    pub id: Box<str>,
    /// What moves the bytes.
    pub driver: DriverKind,
    /// Connections that it may have.
    pub connections_max: u32,
    phase: AtomicU8,
    started: Instant,
    started_at: SystemTime,
}

impl NodeStatus {
    /// A node that is starting.
    ///
    /// # Errors
    /// When the kernel has no random numbers.
    pub fn new(driver: DriverKind, connections_max: u32) -> Result<NodeStatus, getrandom::Error> {
        Ok(NodeStatus {
            id: format!("{:016x}", getrandom::u64()?).into(),
            driver,
            connections_max,
            phase: AtomicU8::new(Phase::Starting as u8),
            started: Instant::now(),
            started_at: SystemTime::now(),
        })
    }

    /// Which part of its life it is in.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }

    /// The next part of its life begins. It never goes back.
    pub fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::Relaxed);
    }

    /// For how long it has been running.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// When it was started.
    pub fn started_at(&self) -> SystemTime {
        self.started_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_drains_never_becomes_ready_again() {
        let status = NodeStatus::new(DriverKind::Epoll, 1).unwrap();
        assert_eq!((status.phase(), status.id.len()), (Phase::Starting, 16));
        status.enter(Phase::Ready);
        assert_eq!(status.phase(), Phase::Ready);
        status.enter(Phase::Draining);
        status.enter(Phase::Ready);
        assert_eq!(status.phase(), Phase::Draining);
    }
}
