//! What supervisors and load balancers ask on the devices' port, without an upgrade: whether the process answers, and
//! whether devices can connect. It is answered as the API's listeners answer it.

use campanile_protocol::upgrade;

use super::Shard;

/// A question of somebody who watches over the process.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// `GET /healthz`: whether the process answers.
    Alive,
    /// `GET /readyz`: whether devices can connect.
    Ready,
}

impl Probe {
    /// The question that a request's head asks, if it is one.
    pub(super) fn of(head: &[u8]) -> Option<Probe> {
        match upgrade::plain_path(head)? {
            "/healthz" => Some(Probe::Alive),
            "/readyz" => Some(Probe::Ready),
            _ => None,
        }
    }
}

impl Shard {
    /// Answers a probe and closes.
    pub(super) fn answer_probe(&mut self, slot: u32, probe: Probe) {
        let body = match probe {
            Probe::Alive => r#"{"status":"ok"}"#,
            Probe::Ready if self.draining.is_some() => {
                return self.refuse(slot, 503, "draining", "the node is draining");
            }
            Probe::Ready => r#"{"status":"ready"}"#,
        };
        let mut response = Vec::with_capacity(128);
        upgrade::write_answer(&mut response, body);
        self.finish(slot, response.into());
    }
}
