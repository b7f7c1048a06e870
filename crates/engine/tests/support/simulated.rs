//! Nodes and clients in the simulator.

use std::net::SocketAddr;
use std::sync::Arc;

use campanile_engine::Command;
use campanile_engine::sim::{Client, Ending, Faults, World};

use super::probe::{Board, Parcel, Probe};
use super::{End, Rig, STEPS_MAX, Setup};

/// See [`Rig`].
pub(crate) struct Simulated {
    pub(crate) world: World<Probe>,
    boards: Vec<Arc<Board>>,
}

/// A client, with what it has read ahead.
pub(crate) struct SimClient {
    pub(crate) client: Client,
    ahead: Vec<u8>,
}

impl Simulated {
    fn step_until<T>(&mut self, what: &str, mut look: impl FnMut(&mut World<Probe>) -> Option<T>) -> T {
        for _ in 0..STEPS_MAX {
            if let Some(found) = look(&mut self.world) {
                return found;
            }
            self.world.step();
        }
        panic!("not in {STEPS_MAX} steps: {what}");
    }
}

impl Rig for Simulated {
    type Client = SimClient;

    fn start(setup: Setup) -> Simulated {
        let mut world = World::new(setup.seed, setup.faults, 1_700_000_000_000);
        let mut boards = Vec::new();
        for index in 0..setup.nodes {
            let board = Arc::new(Board::default());
            board.order(vec![Command::Accept { on: setup.accept }]);
            boards.push(Arc::clone(&board));
            world.add_node(Probe { board, script: (setup.script)(index) }, (setup.slots)(index));
        }
        Simulated { world, boards }
    }

    fn board(&self, node: usize) -> &Board {
        &self.boards[node]
    }

    fn address(&self, node: usize) -> SocketAddr {
        World::<Probe>::address(node)
    }

    fn nobody(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 9))
    }

    fn connect(&mut self, node: usize) -> SimClient {
        SimClient { client: self.world.connect(node), ahead: Vec::new() }
    }

    fn local(&self, _: &SimClient) -> Option<SocketAddr> {
        None
    }

    fn write(&mut self, client: &mut SimClient, bytes: &[u8]) {
        let mut sent = 0;
        self.step_until("the client writes", |world| {
            sent += world.send(client.client, &bytes[sent..]);
            (sent == bytes.len()).then_some(())
        });
    }

    fn try_write(&mut self, client: &mut SimClient, bytes: &[u8]) -> bool {
        let mut sent = 0;
        self.step_until("the client writes or fails", |world| {
            sent += world.send(client.client, &bytes[sent..]);
            let broken = world.ending(client.client) == Ending::Reset;
            (sent == bytes.len() || broken).then_some(!broken)
        })
    }

    fn read(&mut self, client: &mut SimClient, count: usize) -> Vec<u8> {
        let SimClient { client, ahead } = client;
        self.step_until("the client reads", |world| {
            ahead.extend(world.receive(*client));
            (ahead.len() >= count).then_some(())
        });
        ahead.drain(..count).collect()
    }

    fn read_to_end(&mut self, client: &mut SimClient) -> (Vec<u8>, End) {
        let SimClient { client, ahead } = client;
        let end = self.step_until("the connection ends", |world| {
            ahead.extend(world.receive(*client));
            match world.ending(*client) {
                Ending::Open => None,
                Ending::Closed => Some(End::Closed),
                Ending::Reset => Some(End::Reset),
            }
        });
        (std::mem::take(ahead), end)
    }

    fn finish(&mut self, client: &mut SimClient) {
        self.world.close(client.client, false);
    }

    fn reset(&mut self, client: SimClient) {
        self.world.drop_client(client.client);
    }

    fn order(&mut self, node: usize, commands: Vec<Command<Parcel>>) {
        self.boards[node].order(commands);
    }

    fn wake(&self, _: usize) {}

    fn until<T>(&mut self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        for _ in 0..STEPS_MAX {
            if let Some(found) = look(self) {
                return found;
            }
            self.world.step();
        }
        panic!("not in {STEPS_MAX} steps: {what}; the last events were {:?}", self.boards[0].all().last());
    }

    fn stop(mut self) -> Vec<u32> {
        self.world.set_faults(Faults::NONE);
        // More than the longest linger.
        self.world.steps(5_000);
        for board in &self.boards {
            board.stop();
        }
        while self.world.step() {}
        (0..self.boards.len()).map(|node| self.world.in_use(node)).collect()
    }
}
