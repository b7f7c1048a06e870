//! What a server did with more and more load: the figures of each step, as a table and in JSON.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What may seem undelivered when it is told from bytes: servers send a ping now and then.
const UNDELIVERED_PERCENT_MAX: f64 = 0.1;

/// The steps of one server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Series {
    /// The server's name in plots.
    pub(crate) name: String,
    /// Subscribers, each of which gets every message.
    pub(crate) subscribers: u32,
    /// Bytes of each message's payload, without the frame's header and whatever the server adds.
    pub(crate) payload_bytes: usize,
    /// In the order in which they were measured.
    pub(crate) steps: Vec<Step>,
}

/// One offered load; what an older report lacks is zero. Figures of the server's process are missing where it is not
/// known.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Step {
    /// Messages that were to be published each second.
    pub(crate) offered_messages_per_second: f64,
    /// The same times the subscribers.
    pub(crate) offered_frames_per_second: f64,
    /// Messages that were published, in all.
    pub(crate) published_messages: u64,
    /// Messages that the server refused.
    pub(crate) refused_messages: u64,
    /// Messages that subscribers got each second while there was publishing, all subscribers together.
    pub(crate) delivered_frames_per_second: f64,
    /// From when a message was due until a sampled subscriber had it. What came after the publishing counts too.
    pub(crate) p50_msec: Option<f64>,
    /// See `p50_msec`.
    pub(crate) p95_msec: Option<f64>,
    /// See `p50_msec`.
    pub(crate) p99_msec: Option<f64>,
    /// See `p50_msec`.
    pub(crate) max_msec: Option<f64>,
    /// Messages that never came, of all that the sampled subscribers should have got.
    pub(crate) lost_frames: u64,
    /// All that the sampled subscribers should have got.
    pub(crate) sampled_frames: u64,
    /// What is missing of all frames to all subscribers, in percent: told from bytes, which may differ a little.
    pub(crate) undelivered_percent: f64,
    /// Messages that came after a later one, or twice, in the sampled sockets.
    pub(crate) out_of_order_frames: u64,
    /// Bytes on the wire of one message to one subscriber.
    pub(crate) frame_bytes: f64,
    /// CPU of the server per message and subscriber, in microseconds.
    pub(crate) server_cpu_usec_per_frame: Option<f64>,
    /// CPU of the server, in percent of a core, until everything was delivered.
    pub(crate) server_core_percent: Option<f64>,
    /// Resident memory of the server after it, in bytes.
    pub(crate) server_resident_bytes: Option<u64>,
    /// CPU of the receivers, in percent of a core: near 100 the figures are theirs and not the server's.
    pub(crate) receiver_core_percent: f64,
    /// How late the publisher was at most, in milliseconds; its delays are part of the latency.
    pub(crate) publisher_late_max_msec: f64,
    /// What others took meanwhile, in percent of a core.
    pub(crate) other_load_core_percent: f64,
}

impl Step {
    /// Whether the server kept up: 95 % of the messages came within `p95_msec_max`, none was lost or refused.
    pub(crate) fn is_sustained(&self, p95_msec_max: f64) -> bool {
        self.p95_msec.is_some_and(|p95| p95 <= p95_msec_max)
            && self.lost_frames == 0
            && self.refused_messages == 0
            && self.undelivered_percent <= UNDELIVERED_PERCENT_MAX
    }
}

impl Series {
    /// The highest load that was kept up with.
    pub(crate) fn best(&self, p95_msec_max: f64) -> Option<&Step> {
        let sustained = self.steps.iter().filter(|step| step.is_sustained(p95_msec_max));
        sustained.max_by(|a, b| a.offered_frames_per_second.total_cmp(&b.offered_frames_per_second))
    }
}

impl fmt::Display for Series {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, subscribers, payload_bytes, .. } = self;
        writeln!(out, "{name}: {subscribers} subscribers, messages of {payload_bytes} bytes")?;
        writeln!(
            out,
            "{:>10} {:>12} {:>12} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8} {:>10} {:>8} {:>8}",
            "messages/s",
            "offered/s",
            "delivered/s",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "max ms",
            "lost",
            "disorder",
            "µs/frame",
            "server %",
            "client %"
        )?;
        for step in &self.steps {
            let or_dash = |figure: Option<f64>, decimals: usize| match figure {
                Some(figure) => format!("{figure:.decimals$}"),
                None => "-".into(),
            };
            writeln!(
                out,
                "{:>10.1} {:>12.0} {:>12.0} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8} {:>10} {:>8} {:>8.0}",
                step.offered_messages_per_second,
                step.offered_frames_per_second,
                step.delivered_frames_per_second,
                or_dash(step.p50_msec, 2),
                or_dash(step.p95_msec, 2),
                or_dash(step.p99_msec, 2),
                or_dash(step.max_msec, 2),
                step.lost_frames,
                step.out_of_order_frames,
                or_dash(step.server_cpu_usec_per_frame, 3),
                or_dash(step.server_core_percent, 0),
                step.receiver_core_percent,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(rate: f64, p95_msec: Option<f64>, lost_frames: u64) -> Step {
        Step { offered_frames_per_second: rate, p95_msec, lost_frames, ..Step::default() }
    }

    #[test]
    fn the_best_is_the_highest_load_at_which_nothing_was_late_or_lost() {
        let steps = vec![
            step(100.0, Some(1.0), 0),
            step(400.0, Some(900.0), 0),
            step(200.0, Some(250.0), 0),
            step(300.0, Some(20.0), 1),
            step(500.0, None, 0),
        ];
        let mut series = Series { name: "x".into(), subscribers: 1, payload_bytes: 128, steps };
        series.steps.push(Step { undelivered_percent: 1.0, ..step(600.0, Some(1.0), 0) });
        assert_eq!(series.best(250.0).map(|step| step.offered_frames_per_second), Some(200.0));
        assert!(series.best(0.5).is_none());
    }

    #[test]
    fn what_is_not_known_is_a_dash_in_the_table_and_null_in_json() {
        let steps = vec![step(100.0, Some(1.5), 0)];
        let series = Series { name: "ours".into(), subscribers: 10, payload_bytes: 128, steps };
        let table = series.to_string();
        assert!(table.starts_with("ours: 10 subscribers") && table.contains(" 1.50 "), "{table}");
        assert_eq!(table.lines().nth(2).expect("a row").matches(" -").count(), 5, "{table}");
        let json = serde_json::to_value(&series).expect("JSON");
        assert!(json["steps"][0]["server_cpu_usec_per_frame"].is_null());
        let again: Series = serde_json::from_value(json).expect("the same");
        assert_eq!(again.steps[0].p95_msec, Some(1.5));
    }
}
