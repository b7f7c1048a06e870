//! A distribution of times as it stands in a report.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// A distribution of times, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90 % took no longer.
    pub p90: f64,
    /// 95 % took no longer.
    pub p95: f64,
    /// 99 % took no longer.
    pub p99: f64,
    /// 99.9 % took no longer.
    pub p99_9: f64,
    /// The longest.
    pub max: f64,
}

impl Latency {
    /// Of times in nanoseconds; `None` of none.
    pub fn of(nanos: &Histogram<u64>) -> Option<Latency> {
        if nanos.is_empty() {
            return None;
        }
        let ms = |nanos: u64| nanos as f64 / 1e6;
        let quantile = |quantile| ms(nanos.value_at_quantile(quantile));
        Some(Latency {
            count: nanos.len(),
            mean: nanos.mean() / 1e6,
            p50: quantile(0.5),
            p90: quantile(0.9),
            p95: quantile(0.95),
            p99: quantile(0.99),
            p99_9: quantile(0.999),
            max: ms(nanos.max()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::histogram;

    #[test]
    fn latencies_are_in_milliseconds() {
        let mut nanos = histogram();
        for ms in 1..=1_000u64 {
            nanos.saturating_record(ms * 1_000_000);
        }
        let latency = Latency::of(&nanos).unwrap();
        for (value, expected) in [(latency.p50, 500.0), (latency.p99, 990.0), (latency.max, 1_000.0)] {
            assert!((value - expected).abs() <= expected * 0.002, "{value} is not {expected}");
        }
        assert!(Latency::of(&histogram()).is_none());
    }
}
