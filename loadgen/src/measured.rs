//! What a run measures, by names that thresholds may use: ours, and those of k6 for the same figures.
//!
//! What always holds: what was not measured is not there. A share of nothing, a distribution of nothing and a rate in
//! no time have no value, and none of them is 0.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::report::{Pushes, Report};
use crate::stats::{Stats, histogram};

/// Something that is measured.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// From when a message was due to its arrival.
    DeliverLatency,
    /// From when a message was due to the answer of its request.
    PublishLatency,
    /// From connect to the 101 answer.
    ConnectLatency,
    /// From connect to the session.
    SessionLatency,
    /// Attempts to connect that failed, connections that were ended and messages not accepted, of all three.
    Errors,
    /// Devices that connected, of those that were to.
    Connected,
    /// Messages that were accepted, of those that were sent.
    Accepted,
    /// Deliveries that arrived, of those that were expected.
    Delivered,
    /// Deliveries that did not, of those that were expected.
    Lost,
    /// Arrivals that the device had from the same session, of all arrivals.
    Duplicated,
    /// Arrivals that the device had from an earlier session, of all arrivals.
    Redelivered,
    /// Arrivals out of order, of all arrivals.
    OutOfOrder,
    /// Arrivals where they should not, of all arrivals.
    Astray,
    /// Deliveries that arrived once, in order, where they should, of those that were expected and those that should not
    /// have been.
    Checks,
    /// Connections that became sessions.
    Sessions,
    /// Messages that were published.
    MessagesSent,
    /// Messages and acknowledgements that devices sent.
    FramesSent,
    /// Messages that devices were sent.
    MessagesReceived,
    /// Messages that fell due and were not sent before the end.
    Dropped,
    /// Devices connected at the end.
    ConnectedNow,
}

/// What can be asked of a metric.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A distribution of times.
    Trend,
    /// So many of so many.
    Share,
    /// A number that grows.
    Counter,
    /// A number as it is.
    Gauge,
}

/// Every name: ours first, k6's behind them.
const NAMES: [(&str, Metric); 25] = [
    ("deliver_latency", Metric::DeliverLatency),
    ("publish_latency", Metric::PublishLatency),
    ("connect_latency", Metric::ConnectLatency),
    ("session_latency", Metric::SessionLatency),
    ("errors", Metric::Errors),
    ("connected", Metric::Connected),
    ("accepted", Metric::Accepted),
    ("delivered", Metric::Delivered),
    ("lost", Metric::Lost),
    ("duplicated", Metric::Duplicated),
    ("redelivered", Metric::Redelivered),
    ("out_of_order", Metric::OutOfOrder),
    ("astray", Metric::Astray),
    ("sessions", Metric::Sessions),
    ("messages_sent", Metric::MessagesSent),
    ("messages_received", Metric::MessagesReceived),
    ("messages_dropped", Metric::Dropped),
    ("connected_now", Metric::ConnectedNow),
    ("ws_connecting", Metric::ConnectLatency),
    ("ws_sessions", Metric::Sessions),
    ("ws_msgs_sent", Metric::FramesSent),
    ("ws_msgs_received", Metric::MessagesReceived),
    ("checks", Metric::Checks),
    ("dropped_iterations", Metric::Dropped),
    ("vus", Metric::ConnectedNow),
];

impl Metric {
    /// The metric of this name.
    pub fn named(name: &str) -> Option<Metric> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, metric)| *metric)
    }

    /// Every name that there is.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name)
    }

    /// What can be asked of it.
    pub fn kind(self) -> Kind {
        use Metric::*;
        match self {
            DeliverLatency | PublishLatency | ConnectLatency | SessionLatency => Kind::Trend,
            Errors | Connected | Accepted | Delivered | Lost | Duplicated | Redelivered | OutOfOrder
            | Astray | Checks => Kind::Share,
            Sessions | MessagesSent | FramesSent | MessagesReceived | Dropped => Kind::Counter,
            ConnectedNow => Kind::Gauge,
        }
    }
}

impl Kind {
    /// In words, with what can be asked.
    pub fn words(self) -> &'static str {
        match self {
            Kind::Trend => {
                "a distribution of times, of which avg, min, med, max, p(N) and count can be asked"
            }
            Kind::Share => "a share, of which rate (from 0 to 1) and count can be asked",
            Kind::Counter => "a counter, of which count and rate (per second) can be asked",
            Kind::Gauge => "a number, of which value can be asked",
        }
    }

    /// Whether this can be asked of it.
    pub fn allows(self, aggregation: Aggregation) -> bool {
        use Aggregation::*;
        match self {
            Kind::Trend => matches!(aggregation, Average | Min | Median | Max | Percentile(_) | Count),
            Kind::Share | Kind::Counter => matches!(aggregation, Rate | Count),
            Kind::Gauge => aggregation == Value,
        }
    }
}

/// One number of a metric.
#[derive(Copy, Clone, Debug, PartialEq)]
pub enum Aggregation {
    /// The mean.
    Average,
    /// The least.
    Min,
    /// Half took no longer.
    Median,
    /// The most.
    Max,
    /// So many in a hundred took no longer.
    Percentile(f64),
    /// How many.
    Count,
    /// Of a share how large it is, of a counter how many a second.
    Rate,
    /// As it is.
    Value,
}

impl Aggregation {
    /// The unit of this number of a metric of this kind; nothing for numbers without one.
    pub fn unit(self, kind: Kind) -> &'static str {
        match (kind, self) {
            (Kind::Trend, Aggregation::Count) => "",
            (Kind::Trend, _) => "ms",
            (Kind::Counter, Aggregation::Rate) => "/s",
            _ => "",
        }
    }
}

impl fmt::Display for Aggregation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Aggregation::Average => "avg",
            Aggregation::Min => "min",
            Aggregation::Median => "med",
            Aggregation::Max => "max",
            Aggregation::Percentile(percent) => return write!(f, "p({percent})"),
            Aggregation::Count => "count",
            Aggregation::Rate => "rate",
            Aggregation::Value => "value",
        })
    }
}

/// What was measured of a metric.
#[derive(Clone, Debug, PartialEq)]
pub enum Sample {
    /// Times, in nanoseconds.
    Trend(Histogram<u64>),
    /// So many of so many.
    Share {
        /// So many …
        part: u64,
        /// … of so many.
        whole: u64,
    },
    /// So many in so much time.
    Counter {
        /// How many.
        count: u64,
        /// In how much time.
        time: Duration,
    },
    /// A number as it is.
    Gauge(u64),
}

impl Sample {
    /// One number of it; `None` if there was nothing to measure it by.
    pub fn value(&self, aggregation: Aggregation) -> Option<f64> {
        match self {
            Sample::Trend(nanos) => trend_value(nanos, aggregation),
            Sample::Share { whole: 0, .. } => None,
            Sample::Share { part, whole } => match aggregation {
                Aggregation::Rate => Some(*part as f64 / *whole as f64),
                Aggregation::Count => Some(*part as f64),
                _ => None,
            },
            Sample::Counter { count, time } => match aggregation {
                Aggregation::Count => Some(*count as f64),
                Aggregation::Rate if !time.is_zero() => Some(*count as f64 / time.as_secs_f64()),
                _ => None,
            },
            Sample::Gauge(value) => (aggregation == Aggregation::Value).then_some(*value as f64),
        }
    }

    /// Adds what another scenario measured of the same metric at the same time.
    fn merge(&mut self, other: &Sample) {
        match (self, other) {
            (Sample::Trend(into), Sample::Trend(more)) => {
                // All have the same bounds, so there is nothing that could fail.
                let _ = into.add(more);
            }
            (Sample::Share { part, whole }, Sample::Share { part: more, whole: of }) => {
                *part += more;
                *whole += of;
            }
            (Sample::Counter { count, time }, Sample::Counter { count: more, time: other }) => {
                *count += more;
                *time = (*time).max(*other);
            }
            (Sample::Gauge(value), Sample::Gauge(more)) => *value += more,
            _ => {}
        }
    }
}

fn trend_value(nanos: &Histogram<u64>, aggregation: Aggregation) -> Option<f64> {
    if nanos.is_empty() {
        return None;
    }
    let ms = |nanos: u64| Some(nanos as f64 / 1e6);
    match aggregation {
        Aggregation::Average => Some(nanos.mean() / 1e6),
        Aggregation::Min => ms(nanos.min()),
        Aggregation::Median => ms(nanos.value_at_quantile(0.5)),
        Aggregation::Max => ms(nanos.max()),
        Aggregation::Percentile(percent) => ms(nanos.value_at_quantile(percent / 100.0)),
        Aggregation::Count => Some(nanos.len() as f64),
        Aggregation::Rate | Aggregation::Value => None,
    }
}

/// What was measured, metric by metric.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured(BTreeMap<Metric, Sample>);

impl Measured {
    /// What a run has measured that has this report; `answers` says how long publishes took to be answered.
    pub fn of(
        report: &Report,
        stats: &[Arc<Stats>],
        answers: Option<Histogram<u64>>,
        time: Duration,
    ) -> Measured {
        let mut measured = Measured::default();
        let (mut deliver, mut connect, mut session) = (histogram(), histogram(), histogram());
        for stats in stats {
            let details = stats.details();
            // All have the same bounds, so there is nothing that could fail.
            let _ = deliver.add(&details.latency);
            let _ = deliver.add(&details.channel_latency);
            let _ = connect.add(&details.connecting);
            let _ = session.add(&details.opening);
        }
        let trends = [
            (Metric::DeliverLatency, Some(deliver)),
            (Metric::ConnectLatency, Some(connect)),
            (Metric::SessionLatency, Some(session)),
            (Metric::PublishLatency, answers),
        ];
        for (metric, trend) in trends {
            if let Some(trend) = trend.filter(|trend| !trend.is_empty()) {
                measured.set(metric, Sample::Trend(trend));
            }
        }
        measured.count(report, time);
        measured
    }

    fn count(&mut self, report: &Report, time: Duration) {
        let connections = &report.connections;
        let sum = |count: fn(&Pushes) -> u64| report.publications().map(count).sum::<u64>();
        let (sent, accepted, failed) =
            (sum(|pushes| pushes.sent), sum(|pushes| pushes.accepted), sum(|pushes| pushes.failed));
        let offered = sum(|pushes| pushes.offered);
        let publishes = report.pushes.is_some();
        let arrivals = Arrivals::of(report);
        let right = arrivals.expected.saturating_sub(arrivals.lost + arrivals.out_of_order);
        let wrong = arrivals.duplicated + arrivals.out_of_order + arrivals.astray + arrivals.broken;
        let shares = [
            (
                Metric::Errors,
                connections.failed + connections.ended_early + failed,
                connections.opened + connections.failed + sent,
            ),
            (Metric::Connected, connections.connected, connections.target.into()),
            (Metric::Accepted, accepted, sent),
            (Metric::Delivered, arrivals.expected.saturating_sub(arrivals.lost), arrivals.expected),
            (Metric::Lost, arrivals.lost, arrivals.expected),
            (Metric::Duplicated, arrivals.duplicated, arrivals.all()),
            (Metric::Redelivered, arrivals.redelivered, arrivals.all()),
            (Metric::OutOfOrder, arrivals.out_of_order, arrivals.all()),
            (Metric::Astray, arrivals.astray, arrivals.all()),
            (Metric::Checks, right, right + arrivals.lost + wrong),
        ];
        for (metric, part, whole) in shares.into_iter().filter(|(_, _, whole)| *whole > 0) {
            self.set(metric, Sample::Share { part, whole });
        }
        if !report.expects_nobody() {
            self.set(Metric::Sessions, Sample::Counter { count: connections.opened, time });
            self.set(Metric::ConnectedNow, Sample::Gauge(connections.connected_at_end));
        }
        let is_from_devices = report
            .channels
            .as_ref()
            .is_some_and(|channels| channels.publish_from.as_deref() == Some("devices"));
        let to_channels = report.channel_pushes.as_ref().map_or(sent, |pushes| pushes.sent);
        let by_devices = if is_from_devices { to_channels } else { 0 };
        let counters = [
            (Metric::FramesSent, Some(connections.acks_sent + by_devices)),
            (Metric::MessagesReceived, Some(arrivals.all())),
            (Metric::MessagesSent, publishes.then_some(sent)),
            (Metric::Dropped, publishes.then(|| offered.saturating_sub(sent))),
        ];
        for (metric, count) in counters {
            if let Some(count) = count {
                self.set(metric, Sample::Counter { count, time });
            }
        }
    }

    /// Sets what was measured of a metric.
    pub fn set(&mut self, metric: Metric, sample: Sample) {
        self.0.insert(metric, sample);
    }

    /// One number of a metric; `None` if it was not measured.
    pub fn value(&self, metric: Metric, aggregation: Aggregation) -> Option<f64> {
        self.0.get(&metric)?.value(aggregation)
    }

    /// Adds what another scenario has measured meanwhile.
    pub fn merge(&mut self, other: &Measured) {
        for (metric, sample) in &other.0 {
            self.0.entry(*metric).and_modify(|into| into.merge(sample)).or_insert_with(|| sample.clone());
        }
    }
}

/// Arrivals of messages to devices and to channels.
#[derive(Default)]
struct Arrivals {
    expected: u64,
    first: u64,
    lost: u64,
    duplicated: u64,
    redelivered: u64,
    out_of_order: u64,
    astray: u64,
    foreign: u64,
    /// Frames that cannot be decoded, and gaps that nobody was told of.
    broken: u64,
}

impl Arrivals {
    fn of(report: &Report) -> Arrivals {
        let mut arrivals = Arrivals::default();
        if let Some(found) = &report.deliveries {
            arrivals.expected += found.expected;
            arrivals.first += found.received;
            arrivals.lost += found.lost;
            arrivals.duplicated += found.duplicated;
            arrivals.redelivered += found.redelivered;
            arrivals.out_of_order += found.out_of_order;
            arrivals.astray += found.astray;
            arrivals.foreign += found.foreign;
            arrivals.broken += found.undecodable;
        }
        if let Some(found) = &report.channels {
            arrivals.expected += found.expected;
            arrivals.first += (found.frames + found.frames_late).saturating_sub(found.duplicated);
            arrivals.lost += found.lost;
            arrivals.duplicated += found.duplicated;
            arrivals.out_of_order += found.out_of_order;
            arrivals.astray += found.astray;
            arrivals.broken += found.gaps_not_told;
        }
        arrivals
    }

    fn all(&self) -> u64 {
        self.first + self.duplicated + self.redelivered + self.astray + self.foreign
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_one_metric() {
        let mut names: Vec<_> = Metric::names().collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), NAMES.len());
        assert_eq!(Metric::named("ws_connecting"), Metric::named("connect_latency"));
        assert_eq!(Metric::named("http_req_duration"), None);
    }

    #[test]
    fn nothing_has_no_value() {
        let nothing = [
            (Sample::Share { part: 0, whole: 0 }, Aggregation::Rate),
            (Sample::Share { part: 0, whole: 0 }, Aggregation::Count),
            (Sample::Counter { count: 3, time: Duration::ZERO }, Aggregation::Rate),
            (Sample::Trend(histogram()), Aggregation::Percentile(95.0)),
            (Sample::Trend(histogram()), Aggregation::Count),
        ];
        for (sample, aggregation) in nothing {
            assert_eq!(sample.value(aggregation), None, "{aggregation}");
        }
        assert_eq!(Measured::default().value(Metric::Lost, Aggregation::Count), None);
    }

    #[test]
    fn scenarios_are_judged_together() {
        let trend = |ms: &[u64]| {
            let mut nanos = histogram();
            ms.iter().for_each(|ms| nanos.saturating_record(ms * 1_000_000));
            Sample::Trend(nanos)
        };
        let measured = |ms: &[u64], part, whole, seconds| {
            let mut measured = Measured::default();
            measured.set(Metric::DeliverLatency, trend(ms));
            measured.set(Metric::Lost, Sample::Share { part, whole });
            let time = Duration::from_secs(seconds);
            measured.set(Metric::Sessions, Sample::Counter { count: whole, time });
            measured
        };
        let mut all = measured(&[1, 2, 3], 1, 10, 4);
        all.merge(&measured(&[10], 0, 30, 5));
        let mut fourth = Measured::default();
        fourth.set(Metric::ConnectedNow, Sample::Gauge(7));
        all.merge(&fourth);
        let about = |value: f64, expected: f64| (value - expected).abs() <= expected * 0.001;
        assert!(about(all.value(Metric::DeliverLatency, Aggregation::Max).unwrap(), 10.0));
        assert!(about(all.value(Metric::DeliverLatency, Aggregation::Average).unwrap(), 4.0));
        assert_eq!(all.value(Metric::Lost, Aggregation::Rate), Some(0.025));
        assert_eq!(all.value(Metric::Sessions, Aggregation::Rate), Some(8.0));
        assert_eq!(all.value(Metric::ConnectedNow, Aggregation::Value), Some(7.0));
    }
}
