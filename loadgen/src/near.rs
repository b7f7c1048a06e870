//! What somebody may have meant who has written a name that does not exist.

/// The name that is most like `unknown`, if any is much like it.
pub fn nearest<'a>(unknown: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// From 0, nothing in common, to 1, the same.
    const ALIKE: f64 = 0.8;
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(unknown, name), name))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}

/// A question that goes behind an error message, or nothing: `; did you mean rate?`.
pub fn did_you_mean<'a>(unknown: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(unknown, names).map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_something_else_is_not() {
        let names = ["deliver_latency", "connect_latency", "errors"];
        assert_eq!(nearest("delivery_latency", names), Some("deliver_latency"));
        assert_eq!(did_you_mean("error", names), "; did you mean `errors`?");
        assert_eq!(did_you_mean("http_req_duration", names), "");
    }
}
