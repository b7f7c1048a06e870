//! Metrics that anyone may write, by name and labels.

use std::fmt::Debug;
use std::hash::Hash;

#[doc(hidden)]
pub use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::family::{self, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry;

/// A number that only grows, and that anyone may write.
pub type SharedCounter = prometheus_client::metrics::counter::Counter;
/// A number that goes up and down, and that anyone may write.
pub type SharedGauge = prometheus_client::metrics::gauge::Gauge;
/// One metric for each set of labels.
pub type Family<L, M> = family::Family<L, M>;
/// One histogram for each set of labels.
pub type Histograms<L> = family::Family<L, Histogram, Bounds>;

/// What tells the metrics of a family apart; [`labels!`](crate::labels) declares one.
pub trait Labels: EncodeLabelSet + Clone + Debug + Eq + Hash + Send + Sync + 'static {}

impl<L: EncodeLabelSet + Clone + Debug + Eq + Hash + Send + Sync + 'static> Labels for L {}

/// The upper bounds of a histogram's buckets.
#[derive(Clone, Copy, Debug)]
pub struct Bounds(&'static [f64]);

impl MetricConstructor<Histogram> for Bounds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

/// Metrics with a common beginning of their names.
#[derive(Debug)]
pub struct Registry(pub(crate) registry::Registry);

impl Registry {
    /// A registry without metrics, whose names will begin with `prefix` and an underscore.
    pub fn new(prefix: &'static str) -> Registry {
        Registry(registry::Registry::with_prefix(prefix))
    }

    /// Adds a counter.
    pub fn counter(&mut self, name: &'static str, help: &'static str) -> SharedCounter {
        self.add(name, help, SharedCounter::default())
    }

    /// Adds counters, one for each set of labels.
    pub fn counters<L: Labels>(
        &mut self,
        name: &'static str,
        help: &'static str,
    ) -> Family<L, SharedCounter> {
        self.add(name, help, Family::default())
    }

    /// Adds gauges, one for each set of labels.
    pub fn gauges<L: Labels>(&mut self, name: &'static str, help: &'static str) -> Family<L, SharedGauge> {
        self.add(name, help, Family::default())
    }

    /// Adds histograms, one for each set of labels, with the upper bounds of their buckets.
    pub fn histograms<L: Labels>(
        &mut self,
        name: &'static str,
        help: &'static str,
        bounds: &'static [f64],
    ) -> Histograms<L> {
        self.add(name, help, family::Family::new_with_constructor(Bounds(bounds)))
    }

    fn add<M: registry::Metric + Clone>(&mut self, name: &'static str, help: &'static str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }
}

/// Declares the labels of a family: a struct whose fields are their names.
#[macro_export]
macro_rules! labels {
    ($(#[doc = $doc:literal])+ $struct:ident { $($name:ident: $type:ty),+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        struct $struct {
            $($name: $type,)+
        }

        impl $crate::registry::EncodeLabelSet for $struct {
            fn encode(&self, labels: &mut $crate::registry::LabelSetEncoder<'_>) -> ::std::fmt::Result {
                use $crate::registry::EncodeLabel as _;
                $((stringify!($name), self.$name.clone()).encode(labels.encode_label())?;)+
                Ok(())
            }
        }
    };
}
