//! The code that is kept is the schema's.

use std::fs;

#[test]
fn the_generated_code_is_what_the_schema_says() {
    for made in campanile_schema::MADE {
        let kept = fs::read(made.place()).unwrap_or_default();
        // Not compared with `assert_eq`, which would print thousands of lines.
        assert!(kept == made.content, "{} is not the schema's: cargo run -p campanile-schema", made.path);
    }
}
