//! Thresholds, in k6's words: what a run's figures have to be for it to be a success.
//!
//! `deliver_latency{scenario:chat} = p(95)<250` names a metric, perhaps of one scenario only, and asks something of it.
//! A threshold on something that was not measured is not kept.

mod expression;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::expression::{Expression, Operator};
use crate::measured::{Measured, Metric};
use crate::near::did_you_mean;

/// The one tag that metrics have.
const SCENARIO: &str = "scenario";

/// A metric as a threshold names it, perhaps of one scenario only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Key {
    /// The metric's name as it was written.
    name: String,
    metric: Metric,
    /// The scenario that is meant; `None` for all together.
    scenario: Option<String>,
}

impl Key {
    /// The metric.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// The scenario that is meant; `None` for all together.
    pub fn scenario(&self) -> Option<&str> {
        self.scenario.as_deref()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.scenario.iter().try_for_each(|scenario| write!(f, "{{{SCENARIO}:{scenario}}}"))
    }
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Key, String> {
        let (name, scenario) = match text.split_once('{') {
            Some((name, tags)) => (name.trim(), Some(scenario_of(text, tags)?)),
            None => (text.trim(), None),
        };
        let metric = Metric::named(name)
            .ok_or_else(|| format!("`{name}` is no metric{}", did_you_mean(name, Metric::names())))?;
        Ok(Key { name: name.into(), metric, scenario })
    }
}

impl TryFrom<String> for Key {
    type Error = String;

    fn try_from(text: String) -> Result<Key, String> {
        text.parse()
    }
}

/// The scenario of `scenario:NAME}`.
fn scenario_of(text: &str, tags: &str) -> Result<String, String> {
    let tag =
        tags.trim_end().strip_suffix('}').ok_or_else(|| format!("`{text}`: there is no `}}` at the end"))?;
    let (tag, value) = tag
        .split_once(':')
        .ok_or_else(|| format!("`{text}`: expected {{{SCENARIO}:NAME}}, not `{{{tag}}}`"))?;
    let (tag, value) = (tag.trim(), value.trim());
    if tag != SCENARIO {
        return Err(format!("`{text}`: metrics have no tag `{tag}`, only `{SCENARIO}`"));
    }
    if value.is_empty() || value.contains(['{', '}', ',', ':']) {
        return Err(format!("`{text}`: `{value}` is no name of a scenario"));
    }
    Ok(value.into())
}

/// What is asked of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// The metric.
    pub key: Key,
    /// What is asked of it.
    pub expression: Expression,
}

impl Threshold {
    /// A threshold that makes sense.
    ///
    /// # Errors
    /// In words for the operator: nobody can ask this of such a metric.
    pub fn new(key: Key, expression: Expression) -> Result<Threshold, String> {
        let (kind, asked) = (key.metric.kind(), expression.aggregation);
        if kind.allows(asked) {
            return Ok(Threshold { key, expression });
        }
        Err(format!("`{}` is {}, not {asked}", key.name, kind.words()))
    }

    /// Compares what is asked with what was measured.
    pub fn check(&self, measured: &Measured) -> Checked {
        let value = measured.value(self.key.metric, self.expression.aggregation);
        Checked {
            metric: self.key.to_string(),
            threshold: self.expression.to_string(),
            value,
            unit: self.expression.aggregation.unit(self.key.metric.kind()).into(),
            kept: value.is_some_and(|value| self.expression.holds(value)),
        }
    }
}

impl FromStr for Threshold {
    type Err = String;

    /// Reads `METRIC=EXPRESSION`.
    fn from_str(text: &str) -> Result<Threshold, String> {
        let (key, expression) =
            text.split_once('=').ok_or("expected METRIC=EXPRESSION, as deliver_latency=p(95)<250")?;
        Threshold::new(key.parse()?, expression.parse()?)
    }
}

/// A threshold, and what was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// The metric, and of which scenario: `deliver_latency{scenario:chat}`.
    pub metric: String,
    /// What was asked: `p(95)<250`.
    pub threshold: String,
    /// What was measured; null if nothing was.
    pub value: Option<f64>,
    /// Its unit: `ms`, `/s`, or nothing for a number or a share.
    pub unit: String,
    /// Whether the threshold was kept. Not if nothing was measured.
    pub kept: bool,
}

impl Checked {
    /// ✓ if the threshold was kept, ✗ if not.
    pub fn sign(&self) -> char {
        if self.kept { '✓' } else { '✗' }
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Checked { metric, threshold, value, unit, .. } = self;
        write!(f, "{metric} {threshold}: ")?;
        match value {
            Some(value) if unit == "ms" => write!(f, "{value:.2} ms"),
            Some(value) if value.fract() == 0.0 => write!(f, "{value}{unit}"),
            Some(value) => write!(f, "{value:.5}{unit}"),
            None => f.write_str("not measured"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::Sample;
    use crate::stats::histogram;

    fn threshold(text: &str) -> Threshold {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn measured() -> Measured {
        let mut nanos = histogram();
        (1..=1_000u64).for_each(|ms| nanos.saturating_record(ms * 1_000_000));
        let mut measured = Measured::default();
        measured.set(Metric::DeliverLatency, Sample::Trend(nanos));
        measured.set(Metric::Errors, Sample::Share { part: 2, whole: 400 });
        measured
    }

    #[test]
    fn each_says_what_was_asked_and_what_was_measured() {
        for (text, kept, said) in [
            ("deliver_latency=p(95)<951", true, "deliver_latency p(95)<951: "),
            ("deliver_latency=p(99.9)<=900", false, "deliver_latency p(99.9)<=900: "),
            ("deliver_latency=med>400", true, "deliver_latency med>400: "),
            ("deliver_latency=min<1.1", true, " ms"),
            ("deliver_latency=max!=7", true, " ms"),
            ("deliver_latency = count == 1000", true, "deliver_latency count==1000: 1000"),
            ("errors=rate<0.01", true, "errors rate<0.01: 0.00500"),
            ("errors=count==2", true, "errors count==2: 2"),
            ("errors=rate<0.005", false, "errors rate<0.005: 0.00500"),
        ] {
            let checked = threshold(text).check(&measured());
            assert_eq!(checked.kept, kept, "{text}: {checked}");
            assert!(checked.to_string().contains(said), "{text}: {checked}");
        }
    }

    #[test]
    fn what_was_not_measured_is_not_kept_whatever_was_asked() {
        for text in ["lost=count==0", "lost=rate<1", "ws_connecting=p(95)<1e9", "vus=value>=0"] {
            let checked = threshold(text).check(&measured());
            assert!(!checked.kept && checked.value.is_none(), "{checked}");
            assert!(checked.to_string().ends_with(": not measured"), "{checked}");
            assert_eq!(serde_json::to_value(checked).unwrap()["value"], serde_json::Value::Null);
        }
    }

    #[test]
    fn a_key_may_name_a_scenario() {
        let key: Key = "deliver_latency{scenario:chat}".parse().unwrap();
        assert_eq!(
            (key.scenario(), key.to_string().as_str()),
            (Some("chat"), "deliver_latency{scenario:chat}")
        );
        assert_eq!("errors".parse::<Key>().unwrap().scenario(), None);
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_near_misses_are_named() {
        for (text, parts) in [
            (
                "delivery_latency=p(95)<1",
                &["`delivery_latency` is no metric", "did you mean `deliver_latency`"][..],
            ),
            ("http_reqs=rate<1", &["`http_reqs` is no metric"]),
            ("errors{scenario:a=rate<1", &["no `}`"]),
            ("errors{status:200}=rate<1", &["no tag `status`", "`scenario`"]),
            ("errors{scenario:}=rate<1", &["no name of a scenario"]),
            ("errors{chat}=rate<1", &["expected {scenario:NAME}"]),
            ("errors=p(95)<1", &["`errors` is a share", "rate"]),
            ("deliver_latency=rate<1", &["a distribution", "p(N)", "not rate"]),
            ("vus=count<1", &["value can be asked"]),
            ("errors", &["METRIC=EXPRESSION"]),
        ] {
            let error = text.parse::<Threshold>().unwrap_err();
            parts.iter().for_each(|part| assert!(error.contains(part), "{text}: {error}"));
        }
    }
}
