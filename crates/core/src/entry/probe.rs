//! What supervisors and load balancers ask on the devices' port, without an upgrade: whether the process answers, and
//! whether devices can connect. It is answered as the API's listeners answer it.

use campanile_protocol::upgrade;

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

    /// The answer of a node that is not draining.
    pub(super) fn answer(self) -> Vec<u8> {
        let body = match self {
            Probe::Alive => r#"{"status":"ok"}"#,
            Probe::Ready => r#"{"status":"ready"}"#,
        };
        let mut response = Vec::with_capacity(128);
        upgrade::write_answer(&mut response, body);
        response
    }
}
