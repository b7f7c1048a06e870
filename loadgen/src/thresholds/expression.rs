//! Expressions: `p(95)<250`, `rate >= 0.99`, `count==0`.

use std::fmt;
use std::str::FromStr;

use crate::measured::Aggregation;
use crate::near::did_you_mean;

/// What can be asked without a number in brackets.
const NAMES: [(&str, Aggregation); 7] = [
    ("avg", Aggregation::Average),
    ("min", Aggregation::Min),
    ("med", Aggregation::Median),
    ("max", Aggregation::Max),
    ("count", Aggregation::Count),
    ("rate", Aggregation::Rate),
    ("value", Aggregation::Value),
];
/// What a percentile begins with.
const PERCENTILE: &str = "p";
/// The longest first, since `<` begins `<=`.
const OPERATORS: [(&str, Operator); 7] = [
    ("===", Operator::Equal),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

/// How a measured number is to compare with the one that was asked for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `==`; k6 takes `===`, too.
    Equal,
    /// `!=`
    NotEqual,
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
            Operator::Greater => ">",
            Operator::GreaterOrEqual => ">=",
            Operator::Equal => "==",
            Operator::NotEqual => "!=",
        })
    }
}

/// What is asked of a metric: one of its numbers is to compare in some way with a number.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Expression {
    /// Which of its numbers.
    pub aggregation: Aggregation,
    /// How it is to compare.
    pub operator: Operator,
    /// With what: milliseconds, a share, a count, or so many a second.
    pub limit: f64,
}

impl Expression {
    /// Whether a measured number is as was asked.
    pub fn holds(&self, value: f64) -> bool {
        match self.operator {
            Operator::Less => value < self.limit,
            Operator::LessOrEqual => value <= self.limit,
            Operator::Greater => value > self.limit,
            Operator::GreaterOrEqual => value >= self.limit,
            Operator::Equal => value == self.limit,
            Operator::NotEqual => value != self.limit,
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.aggregation, self.operator, self.limit)
    }
}

impl FromStr for Expression {
    type Err = String;

    fn from_str(text: &str) -> Result<Expression, String> {
        let mut reader = Reader { text, rest: text };
        let aggregation = reader.aggregation()?;
        let operator = reader.operator()?;
        let limit = reader.limit()?;
        Ok(Expression { aggregation, operator, limit })
    }
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Reader<'a> {
    /// Says what was expected where it has got to.
    fn expected(&self, what: &str) -> String {
        let column = self.text[..self.text.len() - self.rest.len()].chars().count() + 1;
        let found = if self.rest.is_empty() { "the end".into() } else { format!("`{}`", self.rest) };
        format!("`{}`: expected {what} at column {column}, found {found}", self.text)
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// What comes before a character that is none of a word.
    fn word(&mut self) -> &'a str {
        let end = self.rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    fn aggregation(&mut self) -> Result<Aggregation, String> {
        self.skip_spaces();
        let before = self.rest;
        let word = self.word();
        if word == PERCENTILE {
            return self.percentile();
        }
        if let Some((_, aggregation)) = NAMES.iter().find(|(name, _)| *name == word) {
            return Ok(*aggregation);
        }
        self.rest = before;
        let names = NAMES.iter().map(|(name, _)| *name);
        let what = "one of avg, min, med, max, p(N), count, rate and value";
        Err(self.expected(what) + &did_you_mean(word, names))
    }

    fn percentile(&mut self) -> Result<Aggregation, String> {
        self.skip_spaces();
        let Some(rest) = self.rest.strip_prefix('(') else {
            return Err(self.expected("a number in brackets, as p(95),"));
        };
        self.rest = rest;
        let percent = rest.split_once(')').and_then(|(number, after)| {
            let percent =
                number.trim().parse::<f64>().ok().filter(|percent| (0.0..=100.0).contains(percent))?;
            self.rest = after;
            Some(percent)
        });
        percent
            .map(Aggregation::Percentile)
            .ok_or_else(|| self.expected("a number from 0 to 100 and a closing bracket"))
    }

    fn operator(&mut self) -> Result<Operator, String> {
        self.skip_spaces();
        for (sign, operator) in OPERATORS {
            if let Some(rest) = self.rest.strip_prefix(sign) {
                self.rest = rest;
                return Ok(operator);
            }
        }
        Err(self.expected("one of <, <=, >, >=, == and !="))
    }

    fn limit(&mut self) -> Result<f64, String> {
        self.skip_spaces();
        let limit = self.rest.trim_end().parse::<f64>().ok();
        limit.filter(|limit| limit.is_finite()).ok_or_else(|| self.expected("a number"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn expressions_are_read_as_k6_reads_them() {
        for (text, aggregation, operator, limit) in [
            ("p(95)<250", Aggregation::Percentile(95.0), Operator::Less, 250.0),
            (" p( 99.9 ) <= 1e3 ", Aggregation::Percentile(99.9), Operator::LessOrEqual, 1_000.0),
            ("avg>0.5", Aggregation::Average, Operator::Greater, 0.5),
            ("rate >= .99", Aggregation::Rate, Operator::GreaterOrEqual, 0.99),
            ("count===0", Aggregation::Count, Operator::Equal, 0.0),
            ("value!=-1", Aggregation::Value, Operator::NotEqual, -1.0),
            ("med==3", Aggregation::Median, Operator::Equal, 3.0),
        ] {
            assert_eq!(text.parse(), Ok(Expression { aggregation, operator, limit }), "{text}");
        }
    }

    #[test]
    fn an_error_says_what_was_expected_and_where() {
        for (text, parts) in [
            ("p(95)<25O", ["a number at column 7", "found `25O`"]),
            ("p(101)<2", ["from 0 to 100", "column 3"]),
            ("p95<2", ["p(N)", "column 1"]),
            ("p<2", ["as p(95)", "column 2"]),
            ("p(95", ["closing bracket", "`95`"]),
            ("rates<1", ["column 1", "did you mean `rate`"]),
            ("rate 5", ["one of <", "column 6"]),
            ("rate<", ["a number at column 6", "found the end"]),
            ("rate<1 or count<2", ["a number", "found `1 or count<2`"]),
            ("rate<NaN", ["a number", "NaN"]),
            ("rate<inf", ["a number", "inf"]),
            ("", ["column 1", "found the end"]),
        ] {
            let error = text.parse::<Expression>().unwrap_err();
            parts.iter().for_each(|part| assert!(error.contains(part), "{text}: {error}"));
        }
    }

    fn expression() -> impl Strategy<Value = Expression> {
        let percentile = (0.0..=100.0f64).prop_map(Aggregation::Percentile);
        let aggregation = prop_oneof![(0..NAMES.len()).prop_map(|index| NAMES[index].1), percentile];
        let operator = (0..OPERATORS.len()).prop_map(|index| OPERATORS[index].1);
        let limit = prop_oneof![proptest::num::f64::NORMAL, Just(0.0)];
        (aggregation, operator, limit).prop_map(|(aggregation, operator, limit)| Expression {
            aggregation,
            operator,
            limit,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read_again(expression in expression()) {
            prop_assert_eq!(expression.to_string().parse(), Ok(expression));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC*", piece in "(p|rate|\\(|\\)|<|=|!|[0-9.eä ]){0,12}") {
            for text in [text, piece] {
                let _ = (text.parse::<Expression>(), format!("errors={text}").parse::<crate::thresholds::Threshold>());
            }
        }
    }
}
