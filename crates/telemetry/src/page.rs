//! The OpenMetrics text format, which Prometheus reads.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry;

use crate::{Kind, Registry};

/// What an answer says that is a [`Page`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The values of a struct of [`counters!`](crate::counters!): of each counter its name, what it counts, its kind, its
/// value.
pub type Counts = Vec<(&'static str, &'static str, Kind, u64)>;

/// A page of metrics that is being made, in the order in which they are added.
#[derive(Debug, Default)]
pub struct Page {
    metrics: Vec<Metric>,
}

#[derive(Debug)]
struct Metric {
    name: String,
    help: &'static str,
    kind: Kind,
    values: Values,
}

#[derive(Debug)]
enum Values {
    One(Value),
    /// One for each set of labels.
    Each(Vec<(Vec<Label>, Value)>),
}

type Label = (&'static str, String);

#[derive(Clone, Copy, Debug)]
enum Value {
    Whole(u64),
    Fraction(f64),
}

impl Value {
    fn encode(self, kind: Kind, to: MetricEncoder<'_>) -> fmt::Result {
        match (kind, self) {
            (Kind::Counter, Value::Whole(value)) => ConstCounter::new(value).encode(to),
            (Kind::Counter, Value::Fraction(value)) => ConstCounter::new(value).encode(to),
            (Kind::Gauge, Value::Whole(value)) => {
                ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(to)
            }
            (Kind::Gauge, Value::Fraction(value)) => ConstGauge::new(value).encode(to),
        }
    }
}

impl Page {
    /// Adds a counter.
    pub fn counter(&mut self, name: impl Into<String>, help: &'static str, value: u64) {
        self.add(name, help, Kind::Counter, Value::Whole(value));
    }

    /// Adds a counter of something that can be divided, like seconds.
    pub fn fraction_counter(&mut self, name: impl Into<String>, help: &'static str, value: f64) {
        self.add(name, help, Kind::Counter, Value::Fraction(value));
    }

    /// Adds a gauge.
    pub fn gauge(&mut self, name: impl Into<String>, help: &'static str, value: f64) {
        self.add(name, help, Kind::Gauge, Value::Fraction(value));
    }

    /// Adds a gauge that is always 1, for what its labels say.
    pub fn info(&mut self, name: impl Into<String>, help: &'static str, labels: Vec<Label>) {
        let values = Values::Each(vec![(labels, Value::Whole(1))]);
        self.metrics.push(Metric { name: name.into(), help, kind: Kind::Gauge, values });
    }

    /// Adds the counters of one struct, their names behind `prefix`.
    pub fn counts(&mut self, prefix: &str, counts: Counts) {
        for (name, help, kind, value) in counts {
            match kind {
                Kind::Counter => self.counter(format!("{prefix}{name}"), help, value),
                Kind::Gauge => self.gauge(format!("{prefix}{name}"), help, value as f64),
            }
        }
    }

    /// Adds the counters of several structs of one kind, their names behind `prefix`, with the place of the struct as
    /// the value of a label.
    pub fn counts_by(
        &mut self,
        prefix: &str,
        label: &'static str,
        structs: impl IntoIterator<Item = Counts>,
    ) {
        let structs: Vec<Counts> = structs.into_iter().collect();
        for (place, &(name, help, kind, _)) in structs.first().into_iter().flatten().enumerate() {
            let value = |(number, counts): (usize, &Counts)| {
                (vec![(label, number.to_string())], Value::Whole(counts[place].3))
            };
            let values = Values::Each(structs.iter().enumerate().map(value).collect());
            self.metrics.push(Metric { name: format!("{prefix}{name}"), help, kind, values });
        }
    }

    fn add(&mut self, name: impl Into<String>, help: &'static str, kind: Kind, value: Value) {
        self.metrics.push(Metric { name: name.into(), help, kind, values: Values::One(value) });
    }

    /// The text of what was added, and of a registry's metrics behind it.
    pub fn text(self, registry: &Registry) -> String {
        let mut own = registry::Registry::default();
        own.register_collector(Box::new(self));
        let mut page = String::with_capacity(32 * 1024);
        let written =
            text::encode_registry(&mut page, &own).and_then(|()| text::encode(&mut page, &registry.0));
        written.expect("a string takes everything");
        page
    }
}

impl Collector for Page {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        for Metric { name, help, kind, values } in &self.metrics {
            let metric_type = match kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut metric = to.encode_descriptor(name, help, None, metric_type)?;
            match values {
                Values::One(value) => value.encode(*kind, metric)?,
                Values::Each(values) => {
                    for (labels, value) in values {
                        value.encode(*kind, metric.encode_family(&labels.as_slice())?)?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels;

    labels! {
        /// Labels of a test.
        Labels { route: String, status: u16 }
    }

    #[test]
    fn a_page_is_what_prometheus_reads() {
        let counts = |things, present| -> Counts {
            vec![
                ("things", "Things counted.", Kind::Counter, things),
                ("present", "Things that are there.", Kind::Gauge, present),
            ]
        };
        let mut page = Page::default();
        page.counts_by("of_", "shard", [counts(3, 0), counts(0, u64::MAX)]);
        page.counts("one_", counts(3, 0));
        page.info("node", "The node; always 1.", vec![("node", "a\"b".into()), ("driver", "epoll".into())]);
        page.fraction_counter("seconds", "Seconds.", 1.5);
        let mut registry = Registry::new("api");
        let requests = registry.counters("requests", "Requests");
        requests.get_or_create(&Labels { route: "/v2/push".into(), status: 202 }).inc_by(7);
        registry
            .histograms("seconds", "Durations", &[0.5, 1.0])
            .get_or_create(&Labels { route: "/".into(), status: 200 })
            .observe(0.7);
        registry.counter("refused", "Refused").inc();
        let expected = r#"# HELP of_things Things counted.
# TYPE of_things counter
of_things_total{shard="0"} 3
of_things_total{shard="1"} 0
# HELP of_present Things that are there.
# TYPE of_present gauge
of_present{shard="0"} 0
of_present{shard="1"} 9223372036854775807
# HELP one_things Things counted.
# TYPE one_things counter
one_things_total 3
# HELP one_present Things that are there.
# TYPE one_present gauge
one_present 0.0
# HELP node The node; always 1.
# TYPE node gauge
node{node="a\"b",driver="epoll"} 1
# HELP seconds Seconds.
# TYPE seconds counter
seconds_total 1.5
# HELP api_requests Requests.
# TYPE api_requests counter
api_requests_total{route="/v2/push",status="202"} 7
# HELP api_seconds Durations.
# TYPE api_seconds histogram
api_seconds_sum{route="/",status="200"} 0.7
api_seconds_count{route="/",status="200"} 1
api_seconds_bucket{le="0.5",route="/",status="200"} 0
api_seconds_bucket{le="1.0",route="/",status="200"} 1
api_seconds_bucket{le="+Inf",route="/",status="200"} 1
# HELP api_refused Refused.
# TYPE api_refused counter
api_refused_total 1
# EOF
"#;
        assert_eq!(page.text(&registry), expected.replace("a\"b", "a\\\"b"));
    }
}
