//! Limits that a run's latency has to keep.

use std::str::FromStr;

use crate::quantity;
use crate::report::Latency;

/// A quantile of the latency, and what it may be at most.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// `p50`, `p90`, `p95`, `p99`, `p99.9` or `max`.
    pub quantile: String,
    /// In milliseconds.
    pub ms_max: f64,
}

impl Threshold {
    /// The quantile's value, in milliseconds.
    pub fn value(&self, latency: &Latency) -> f64 {
        Threshold::read(&self.quantile, latency).unwrap_or(f64::INFINITY)
    }

    fn read(quantile: &str, latency: &Latency) -> Option<f64> {
        Some(match quantile {
            "p50" => latency.p50,
            "p90" => latency.p90,
            "p95" => latency.p95,
            "p99" => latency.p99,
            "p99.9" => latency.p99_9,
            "max" => latency.max,
            _ => return None,
        })
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Threshold, String> {
        let (quantile, ms) = text.split_once('=').ok_or("expected QUANTILE=MS, as p95=250")?;
        if Threshold::read(quantile, &Latency::default()).is_none() {
            return Err(format!("`{quantile}` is none of p50, p90, p95, p99, p99.9 and max"));
        }
        let ms_max = quantity::milliseconds(ms)?.as_secs_f64() * 1e3;
        Ok(Threshold { quantile: quantile.into(), ms_max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_names_a_quantile_and_its_limit() {
        let threshold: Threshold = "p99.9=12.5".parse().unwrap();
        assert_eq!(threshold, Threshold { quantile: "p99.9".into(), ms_max: 12.5 });
        assert_eq!(threshold.value(&Latency { p99_9: 3.0, max: 9.0, ..Latency::default() }), 3.0);
        assert_eq!("max=1.5s".parse::<Threshold>().unwrap().ms_max, 1_500.0);
        for (text, word) in [
            ("p95", "QUANTILE=MS"),
            ("p42=1", "none of"),
            ("p95=x", "milliseconds"),
            ("max=NaN", "milliseconds"),
        ] {
            assert!(text.parse::<Threshold>().unwrap_err().contains(word), "{text}");
        }
    }
}
