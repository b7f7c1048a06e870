//! Why a server has refused a request, as a word for reports: the stable code of its answer, or the status.

use serde::Deserialize;

/// The longest code that is taken over, in bytes.
const CODE_BYTES_MAX: usize = 64;

#[derive(Deserialize)]
struct Answer {
    error: Cause,
}

#[derive(Deserialize)]
struct Cause {
    code: String,
}

/// The code of an answer like `{"error":{"code":"key_refused","message":"…"}}`; `http_401` where there is none.
pub fn reason(status: u16, body: &[u8]) -> String {
    let is_word = |code: &String| {
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        !code.is_empty() && code.len() <= CODE_BYTES_MAX && code.bytes().all(is_letter)
    };
    let code = serde_json::from_slice::<Answer>(body).ok().map(|answer| answer.error.code);
    code.filter(is_word).unwrap_or_else(|| format!("http_{status}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stable_code_of_an_answer_is_its_reason() {
        assert_eq!(reason(401, br#"{"error":{"code":"key_refused","message":"x"}}"#), "key_refused");
        let long = format!(r#"{{"error":{{"code":"{}"}}}}"#, "x".repeat(65));
        for body in ["", "Unauthorized", "{}", r#"{"error":"no"}"#, r#"{"error":{"code":"<b>"}}"#, &long] {
            assert_eq!(reason(401, body.as_bytes()), "http_401", "{body}");
        }
    }
}
