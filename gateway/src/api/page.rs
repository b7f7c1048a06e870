//! Lists that are asked for page by page.

use super::error::{ApiError, invalid};

/// Messages that one page may have.
pub const PAGE_MESSAGES_MAX: usize = 500;
/// Messages of a page that does not say how many.
const PAGE_MESSAGES_DEFAULT: usize = 100;

/// How many messages a page has at most.
///
/// # Errors
/// [`ApiError::InvalidField`].
pub(super) fn messages_max(limit: Option<usize>) -> Result<usize, ApiError> {
    match limit.unwrap_or(PAGE_MESSAGES_DEFAULT) {
        limit @ 1..=PAGE_MESSAGES_MAX => Ok(limit),
        limit => Err(invalid("limit", format_args!("{limit} is not between 1 and {PAGE_MESSAGES_MAX}"))),
    }
}
