//! What supervisors and load balancers ask on the devices' port, without an upgrade. It is answered as the API's
//! listeners answer it.

use campanile_protocol::upgrade;

use super::refusal::Refusal;

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

    /// The body of the answer.
    pub(super) fn answer(self, is_draining: bool) -> Result<&'static str, Refusal> {
        match self {
            Probe::Alive => Ok(r#"{"status":"ok"}"#),
            Probe::Ready if is_draining => Err(Refusal::NotReady),
            Probe::Ready => Ok(r#"{"status":"ready"}"#),
        }
    }
}
