//! The measuring side's handle on its receiver processes.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use campanile_floor::sockets_per_ring_max;
use campanile_harness::{Launch, Worker, programs};

use super::plan::{Opening, Plan};
use super::process::{Answer, CONNECT, Orders, RESET, SAMPLE, STOP};
use super::tally::Sample;

/// How many reads a second counted sockets share: some 10 % of a core if all find nothing, and often
/// enough that what comes meanwhile fits the sockets' buffers. With half as many the sender was a third slower (7,000 B
/// each to 10,000 sockets), since memory that is freed late is no longer in a cache.
const COUNTED_READS_PER_SECOND: u32 = 200_000;
/// Reading few sockets more often gains nothing.
const SCAN_MIN: Duration = Duration::from_millis(2);

/// How long a command may take: connecting a hundred thousand sockets is one.
const PATIENCE: Duration = Duration::from_secs(300);

/// All receivers. Dropping it closes their inputs, which ends them.
pub(crate) struct Fleet {
    receivers: Vec<Receiver>,
}

struct Receiver {
    worker: Worker,
}

impl Fleet {
    /// Starts as many processes as the plans' sockets need; no socket exists yet.
    pub(crate) fn start(plans: &[Plan]) -> anyhow::Result<Self> {
        Self::start_as(plans, false)
    }

    /// The same with processes that leave their cores to others whenever they want them, or not.
    pub(crate) fn start_as(plans: &[Plan], gives_way: bool) -> anyhow::Result<Self> {
        // A table that holds the sockets of a ring also holds those of a process; the rest is for pipes and the like.
        let sockets_max = sockets_per_ring_max();
        ensure!(sockets_max > 0, "nofile is too small to hold any socket: raise it with `ulimit -n`");
        let scan = scan(plans.iter().map(|plan| plan.connections).sum());
        let parts = plans.iter().flat_map(|plan| split(plan, sockets_max));
        let start = |plan| Receiver::start(&Orders { plan, scan }, gives_way);
        let mut fleet = Self { receivers: parts.map(start).collect::<Result<_, _>>()? };
        fleet.answers()?;
        Ok(fleet)
    }

    /// Connects, upgrades and subscribes everything.
    ///
    /// # Errors
    /// In words for the operator, if the server does not answer or refuses.
    pub(crate) fn connect(&mut self) -> anyhow::Result<Sample> {
        // One after the other: the listener's backlog and the order of the sampled sockets are those of one process.
        for receiver in &mut self.receivers {
            receiver.tell(CONNECT)?;
            receiver.answer()?;
        }
        self.sample()
    }

    /// Reads every socket until now and says what has been counted since the last reset.
    pub(crate) fn sample(&mut self) -> anyhow::Result<Sample> {
        self.command(SAMPLE)
    }

    /// Reads every socket until now and forgets what has been counted.
    pub(crate) fn reset(&mut self) -> anyhow::Result<Sample> {
        self.command(RESET)
    }

    /// Closes all sockets and waits for the processes' end.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        for mut receiver in self.receivers.drain(..) {
            receiver.tell(STOP)?;
            receiver.worker.finish(PATIENCE)?;
        }
        Ok(())
    }

    fn command(&mut self, command: &str) -> anyhow::Result<Sample> {
        for receiver in &mut self.receivers {
            receiver.tell(command)?;
        }
        self.answers()
    }

    fn answers(&mut self) -> anyhow::Result<Sample> {
        let mut sum = Sample::default();
        for receiver in &mut self.receivers {
            sum.merge(receiver.answer()?);
        }
        Ok(sum)
    }
}

/// In how much time each counted socket is read once.
fn scan(connections: u32) -> Duration {
    (Duration::from_secs(connections.into()) / COUNTED_READS_PER_SECOND).max(SCAN_MIN)
}

/// The shares of processes that hold at most `sockets_max` each.
fn split(plan: &Plan, sockets_max: u32) -> Vec<Plan> {
    let parts = plan.connections.div_ceil(sockets_max);
    let bound = |total: u32, part: u32| (u64::from(total) * u64::from(part) / u64::from(parts)) as u32;
    let part = |number: u32| {
        let (from, to) = (bound(plan.connections, number), bound(plan.connections, number + 1));
        let opening = plan.opening.as_ref().map(|opening| Opening {
            tokens: opening.tokens.iter().skip(from as usize).take((to - from) as usize).cloned().collect(),
            ..opening.clone()
        });
        Plan {
            first: plan.first + from,
            connections: to - from,
            sampled: bound(plan.sampled, number + 1) - bound(plan.sampled, number),
            opening,
            ..plan.clone()
        }
    };
    (0..parts).map(part).collect()
}

impl Receiver {
    fn start(orders: &Orders, gives_way: bool) -> anyhow::Result<Self> {
        let launch = Launch::new(programs::this()?).arg("receiver").giving_way(gives_way);
        let mut receiver = Self { worker: Worker::start("a receiver process", launch)? };
        receiver.tell(&serde_json::to_string(orders)?)?;
        Ok(receiver)
    }

    fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        self.worker.tell(line)
    }

    fn answer(&mut self) -> anyhow::Result<Sample> {
        let line = self.worker.answer(PATIENCE)?;
        match serde_json::from_str(&line).context("a receiver process answered something else")? {
            Answer::Done(sample) => Ok(sample),
            Answer::Failed(problem) => bail!(problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_share_the_sockets_the_samples_and_the_tokens() {
        let tokens: Vec<String> = (0..100).map(|number| format!("token{number}")).collect();
        let plan = Plan {
            target: "127.0.0.1:1".parse().expect("an address"),
            connections: 100,
            first: 1000,
            sources: 8,
            core: Some(1),
            opening: Some(Opening { tokens, ..Opening::default() }),
            sampled: 10,
            pong_seconds: 20,
        };
        let parts = split(&plan, 30);
        assert_eq!(parts.len(), 4);
        let (mut next, mut sampled) = (1000, 0);
        for part in &parts {
            assert_eq!(part.first, next);
            assert!(part.connections <= 30);
            let tokens = &part.opening.as_ref().expect("the opening").tokens;
            assert_eq!(tokens.len(), part.connections as usize);
            assert_eq!(tokens[0], format!("token{}", part.first - 1000));
            next += part.connections;
            sampled += part.sampled;
        }
        assert_eq!((next, sampled), (1100, 10));
        assert_eq!(split(&plan, 100).len(), 1);
    }

    #[test]
    fn many_sockets_are_not_read_more_often_than_there_is_time_for() {
        assert_eq!(scan(10_000), Duration::from_millis(50));
        assert_eq!(scan(100_000), Duration::from_millis(500));
        assert_eq!(scan(20), SCAN_MIN);
    }
}
