//! How fast one thread writes the same bytes to many sockets.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::ensure;
use campanile_floor::{SendRound, Server};
use campanile_harness::process::pin;
use campanile_harness::usage::{OtherLoad, thread_cpu};
use clap::Args;

use super::client::{CONNECT, OPEN, Role, SAMPLE, Sample};
use super::machine::connections_per_ring;
use super::peer::Peer;
use super::{CONNECT_PATIENCE, Setup};
use crate::receiver::{self, Fleet, Plan};
use crate::report::Findings;

/// How long one server is waited for before the next gets its turn.
const ACCEPT_TURN: Duration = Duration::from_millis(1);

/// How long the receiver may take to read what is left.
const DRAIN_PATIENCE: Duration = Duration::from_secs(30);

/// One thread writes to every socket, round after round without a pause; the clients read and discard.
#[derive(Args, Debug)]
pub(crate) struct Sends {
    /// Connections in all
    #[arg(long, default_value_t = 10_000)]
    connections: u32,
    /// Bytes of each send
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    bytes: u32,
    /// How many times every socket is written to
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Receive as `bench compare` does, which only counts bytes: what it could take is its limit
    #[arg(long)]
    counted: bool,
    #[command(flatten)]
    setup: Setup,
}

/// Who reads what is sent.
enum Receiving {
    /// The floor's own client.
    Drained(Peer),
    /// That of `bench compare`.
    Counted(Fleet),
}

/// What all rounds did.
#[derive(Default)]
struct Rounds {
    total: SendRound,
    seconds: Vec<f64>,
    cpu: Duration,
}

impl Sends {
    pub(super) fn run(self) -> anyhow::Result<()> {
        self.setup.output.measure(|| self.once())
    }

    fn once(&self) -> anyhow::Result<Findings> {
        let quotas = connections_per_ring(self.connections, &self.setup)?;
        pin(self.setup.server_core)?;
        let payload = vec![b'.'; self.bytes as usize];
        let mut servers = Vec::new();
        let mut targets = Vec::new();
        for &quota in &quotas {
            let server = Server::listen(quota, &payload)?;
            targets.push((server.address()?, quota));
            servers.push(server);
        }
        let mut peer = Receiving::start(self.counted, &self.setup, &targets)?;
        let before = self.connect(&mut servers, &quotas, &mut peer)?;

        let others = OtherLoad::watch()?;
        let rounds = self.send(&mut servers)?;
        let after = peer.sample()?;
        let others = others.core_percent(after.cpu_seconds - before.cpu_seconds)?;
        let received = drain(&mut peer, rounds.total.bytes)?;
        for server in &mut servers {
            server.close()?;
        }
        peer.stop()?;

        let mut report = self.report(&rounds, &before, &after, received);
        report.add("other_load_core_percent", others);
        let sent = rounds.total.bytes;
        report.must(received == sent, || {
            format!("{received} bytes were received of {sent} sent: the figures do not count")
        });
        Ok(report)
    }

    /// Connects while this thread, which owns all servers, accepts for each in turn.
    fn connect(
        &self,
        servers: &mut [Server],
        quotas: &[u32],
        peer: &mut Receiving,
    ) -> anyhow::Result<Sample> {
        std::thread::scope(|scope| {
            let connecting = scope.spawn(|| peer.connect());
            let deadline = Instant::now() + CONNECT_PATIENCE;
            let mut accepted = 0;
            while accepted < self.connections && Instant::now() < deadline {
                accepted = 0;
                for (server, &quota) in servers.iter_mut().zip(quotas) {
                    accepted += server.accept(quota, ACCEPT_TURN)?.connections;
                }
            }
            ensure!(accepted == self.connections, "only {accepted} of {} were accepted", self.connections);
            connecting.join().expect("waiting for the client does not panic")
        })
    }

    fn send(&self, servers: &mut [Server]) -> anyhow::Result<Rounds> {
        let mut rounds = Rounds::default();
        let cpu = thread_cpu();
        for _ in 0..self.rounds {
            let start = Instant::now();
            for server in &mut *servers {
                let round = server.send_to_all()?;
                rounds.total.sends += round.sends;
                rounds.total.short += round.short;
                rounds.total.bytes += round.bytes;
            }
            rounds.seconds.push(start.elapsed().as_secs_f64());
        }
        rounds.cpu = thread_cpu() - cpu;
        Ok(rounds)
    }

    fn report(&self, rounds: &Rounds, before: &Sample, after: &Sample, received: u64) -> Findings {
        let connections = f64::from(self.connections);
        let per_round =
            |what: &dyn Fn(f64) -> f64| rounds.seconds.iter().map(|&round| what(round)).collect::<Vec<_>>();
        let wall: f64 = rounds.seconds.iter().sum();
        let mut report = Findings::new();
        report.add("connections", connections);
        report.add("send_size_bytes", self.bytes.into());
        report.add("sends", rounds.total.sends as f64);
        report.add("sends_short", rounds.total.short as f64);
        report.add("received_bytes", received as f64);
        report.add_spread("sends", "per_second", &per_round(&|round| connections / round));
        report.add_spread("send", "usec", &per_round(&|round| round * 1e6 / connections));
        report.add_spread("round", "msec", &per_round(&|round| round * 1e3));
        report.add("send_server_cpu_usec", rounds.cpu.as_secs_f64() * 1e6 / rounds.total.sends as f64);
        report.add("server_core_percent", rounds.cpu.as_secs_f64() / wall * 100.0);
        let client_cpu = after.cpu_seconds - before.cpu_seconds;
        report.add("client_core_percent", client_cpu / wall * 100.0);
        report.add("client_limit_sends_per_second", rounds.total.sends as f64 / client_cpu);
        report.add("client_limit_bytes_per_second", rounds.total.bytes as f64 / client_cpu);
        report
    }
}

impl Receiving {
    fn start(counted: bool, setup: &Setup, targets: &[(SocketAddrV4, u32)]) -> anyhow::Result<Self> {
        if !counted {
            let mut peer = Peer::start(setup, Role::Drain, targets)?;
            peer.command(OPEN)?;
            return Ok(Self::Drained(peer));
        }
        let plan = |&(target, connections): &(SocketAddrV4, u32)| Plan {
            target,
            connections,
            first: 0,
            sources: setup.sources,
            core: Some(setup.client_core),
            opening: None,
            sampled: 0,
            pong_seconds: 0,
        };
        Ok(Self::Counted(Fleet::start(&targets.iter().map(plan).collect::<Vec<_>>())?))
    }

    fn connect(&mut self) -> anyhow::Result<Sample> {
        match self {
            Self::Drained(peer) => peer.command(CONNECT),
            Self::Counted(fleet) => fleet.connect().map(Sample::from),
        }
    }

    fn sample(&mut self) -> anyhow::Result<Sample> {
        match self {
            Self::Drained(peer) => peer.command(SAMPLE),
            Self::Counted(fleet) => fleet.sample().map(Sample::from),
        }
    }

    fn stop(self) -> anyhow::Result<()> {
        match self {
            Self::Drained(peer) => peer.stop(),
            Self::Counted(fleet) => fleet.stop(),
        }
    }
}

impl From<receiver::Sample> for Sample {
    fn from(sample: receiver::Sample) -> Self {
        Self {
            cpu_seconds: sample.cpu_seconds,
            bytes: sample.bytes,
            closed: sample.closed.into(),
            ..Self::default()
        }
    }
}

/// Waits until the clients have received `expected` bytes, and says how many they have.
fn drain(peer: &mut Receiving, expected: u64) -> anyhow::Result<u64> {
    let deadline = Instant::now() + DRAIN_PATIENCE;
    loop {
        let received = peer.sample()?.bytes;
        if received >= expected || Instant::now() >= deadline {
            return Ok(received);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
