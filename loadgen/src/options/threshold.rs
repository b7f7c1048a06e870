//! `--fail-above p95=250`: short for a threshold on the latency of what is delivered.

use std::str::FromStr;

use crate::quantity;
use crate::thresholds::Threshold;

/// What may be limited, and how a threshold says it.
const QUANTILES: [(&str, &str); 6] = [
    ("p50", "p(50)"),
    ("p90", "p(90)"),
    ("p95", "p(95)"),
    ("p99", "p(99)"),
    ("p99.9", "p(99.9)"),
    ("max", "max"),
];

/// A quantile of the latency, and what it may be at most.
#[derive(Clone, Debug, PartialEq)]
pub struct FailAbove(pub Threshold);

impl FromStr for FailAbove {
    type Err = String;

    fn from_str(text: &str) -> Result<FailAbove, String> {
        let (quantile, ms) = text.split_once('=').ok_or("expected QUANTILE=MS, as p95=250")?;
        let Some((_, asked)) = QUANTILES.iter().find(|(name, _)| *name == quantile) else {
            return Err(format!("`{quantile}` is none of p50, p90, p95, p99, p99.9 and max"));
        };
        let ms_max = quantity::milliseconds(ms)?.as_secs_f64() * 1e3;
        format!("deliver_latency={asked}<={ms_max}").parse().map(FailAbove)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_names_a_quantile_of_the_latency() {
        for (text, threshold) in [
            ("p99.9=12.5", "deliver_latency=p(99.9)<=12.5"),
            ("max=1.5s", "deliver_latency=max<=1500"),
            ("p50=0", "deliver_latency=p(50)<=0"),
        ] {
            assert_eq!(text.parse::<FailAbove>().unwrap().0, threshold.parse().unwrap(), "{text}");
        }
        for (text, word) in [
            ("p95", "QUANTILE=MS"),
            ("p42=1", "none of"),
            ("p95=x", "milliseconds"),
            ("max=NaN", "milliseconds"),
        ] {
            assert!(text.parse::<FailAbove>().unwrap_err().contains(word), "{text}");
        }
    }
}
