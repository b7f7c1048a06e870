//! What a request leads to: who may come in, and what is agreed on with them. One that is no upgrade may be a probe of
//! the node's health.

use campanile_protocol::messages::Encoding;
use campanile_protocol::upgrade::{UpgradeError, UpgradeRequest};

use super::client::Upgrade;
use super::probe::Probe;
use super::refusal::Refusal;
use crate::net::wire::Agreed;
use crate::settings::{Mode, ShardSettings};
use crate::tokens::Identity;

/// The path where sessions are opened.
const CONNECT_PATH: &str = "/v2/connect";

/// What a request is judged by.
pub(super) struct Admission<'a> {
    pub(super) settings: &'a ShardSettings,
    pub(super) is_draining: bool,
    pub(super) is_full: bool,
    /// The time, in milliseconds since the Unix epoch.
    pub(super) unix_ms: u64,
}

/// What a request leads to that is not refused.
#[derive(Debug)]
pub(super) enum Decision {
    /// Its client comes in.
    Admit(Admitted),
    /// It is a probe: this body is its answer, and the connection is closed.
    Answer(&'static str),
}

/// A request that was accepted, and that is not answered yet.
#[derive(Debug)]
pub(super) struct Admitted {
    /// Who the client is.
    pub(super) asker: Asker,
    pub(super) agreed: Agreed,
    pub(super) upgrade: Upgrade,
}

/// Who has asked for an upgrade.
#[derive(Debug)]
pub(super) enum Asker {
    /// A device, by the token of its request.
    Known(Identity),
    /// A client that will say in its first frame who it is.
    Unknown,
    /// Anybody: what it sends is sent back.
    Echo,
}

impl Admission<'_> {
    /// Decides what to do with a request.
    pub(super) fn decide(&self, head: &[u8]) -> Result<Decision, Refusal> {
        match UpgradeRequest::parse(head) {
            Ok(request) => self.admit(&request).map(Decision::Admit),
            Err(error) => match Probe::of(head).filter(|_| !self.settings.is_echo()) {
                Some(probe) => probe.answer(self.is_draining).map(Decision::Answer),
                None => Err(error.into()),
            },
        }
    }

    /// What an upgrade request leads to.
    fn admit(&self, request: &UpgradeRequest<'_>) -> Result<Admitted, Refusal> {
        if let Some(refusal) = self.stands_against(request) {
            return Err(refusal);
        }
        let encoding = Encoding::negotiate(request.protocols());
        let offered = encoding.is_some();
        // A client that offers nothing is one that was written by hand: it gets the form that people read.
        let or_json = encoding.unwrap_or(Encoding::Json);
        let Mode::Gateway { verifier } = &self.settings.mode else {
            let agreed = Agreed { encoding: or_json, acknowledges: true, deflate: false };
            let upgrade = Upgrade { key: request.key.into(), offered: false, deflate: None };
            return Ok(Admitted { asker: Asker::Echo, agreed, upgrade });
        };
        if !offered && request.protocols().next().is_some() {
            return Err(UpgradeError::Subprotocol.into());
        }
        let acknowledges = acknowledges(request.query) != Some(false);
        let deflate = request.deflate.filter(|_| self.settings.namespaces.any_deflates());
        let agreed = Agreed { encoding: or_json, acknowledges, deflate: deflate.is_some() };
        let upgrade = Upgrade { key: request.key.into(), offered, deflate };
        let asker = match request.bearer_token() {
            None => Asker::Unknown,
            Some(token) => Asker::Known(verifier.verify(token, self.unix_ms).map_err(Refusal::Token)?),
        };
        Ok(Admitted { asker, agreed, upgrade })
    }

    /// What stands against an upgrade, whoever asks: first what holds for the whole node, so that a node that is to be
    /// left says only that.
    fn stands_against(&self, request: &UpgradeRequest<'_>) -> Option<Refusal> {
        if self.is_draining {
            return Some(Refusal::Draining);
        }
        if self.is_full {
            return Some(Refusal::Full);
        }
        if !self.settings.is_echo() && request.path != CONNECT_PATH {
            return Some(Refusal::NotFound);
        }
        if acknowledges(request.query).is_none() {
            return Some(Refusal::BadQuery);
        }
        let allowed = &self.settings.allowed_origins;
        let forbidden = |origin: &str| !allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin));
        (!allowed.is_empty() && request.origin.is_some_and(forbidden)).then_some(Refusal::OriginForbidden)
    }
}

/// Whether a client acknowledges what it is delivered, by the query of its upgrade request; `None` if that is neither.
fn acknowledges(query: Option<&str>) -> Option<bool> {
    let ack = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("ack="));
    match ack {
        None | Some("cumulative") => Some(true),
        Some("none") => Some(false),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests;
