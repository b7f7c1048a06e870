//! The gateway's API, as far as a benchmark needs it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;

pub(super) struct Api {
    address: SocketAddr,
    /// Where its metrics are.
    admin: SocketAddr,
    key: String,
    agent: ureq::Agent,
}

impl Api {
    pub(super) fn new(address: SocketAddr, admin: SocketAddr, key: &str) -> Self {
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(20))).build();
        Self { address, admin, key: format!("Bearer {key}"), agent: config.into() }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn is_ready(&self) -> bool {
        self.agent.get(format!("http://{}/readyz", self.address)).call().is_ok()
    }

    /// The sum of a metric over all shards.
    pub(super) fn counter(&self, name: &str) -> anyhow::Result<u64> {
        let mut response = self.agent.get(format!("http://{}/metrics", self.admin)).call()?;
        let text = response.body_mut().read_to_string()?;
        let mut sum = None;
        for line in text.lines() {
            let Some((metric, value)) = line.rsplit_once(' ') else { continue };
            if metric.split('{').next() == Some(name) {
                let value: f64 = value.parse().with_context(|| format!("not a number: {line}"))?;
                sum = Some(sum.unwrap_or(0.0) + value);
            }
        }
        Ok(sum.with_context(|| format!("no metric {name}"))? as u64)
    }

    /// Sends an event to every session; gives how many were sent it and how many passed over.
    pub(super) fn broadcast(&self, text: &str) -> anyhow::Result<(u64, u64)> {
        let body = serde_json::json!({"name": "benchmark", "payload": {"text": text}});
        let mut response = self
            .agent
            .post(format!("http://{}/v2/broadcast", self.address))
            .header("Authorization", &self.key)
            .header("Content-Type", "application/json")
            .send(serde_json::to_vec(&body)?.as_slice())?;
        let answer: serde_json::Value = serde_json::from_str(&response.body_mut().read_to_string()?)?;
        let count = |name: &str| answer[name].as_u64().with_context(|| format!("no `{name}` in {answer}"));
        Ok((count("sent")?, count("skipped")?))
    }
}
