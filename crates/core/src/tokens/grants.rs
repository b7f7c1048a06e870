//! What a token allows with channels.

use campanile_protocol::ids::{CHANNEL_NAME_BYTES_MAX, ChannelName};

/// Names and patterns that one token may have, in each of its claims.
pub const GRANTS_MAX: usize = 64;

/// What a session may do with channels, from the claims of its token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Grants {
    /// Claim `channels`: which channels the session may subscribe to.
    pub channels: Vec<Pattern>,
    /// Claim `publish`: where it may publish to.
    pub publish: Vec<Pattern>,
    /// Claim `subscribe`: what it is subscribed to from its beginning.
    pub subscribe: Vec<ChannelName>,
}

/// What a token for one subscription says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionGrant {
    /// Claim `channel`.
    pub channel: ChannelName,
    /// When the token ends, and the subscription with it, in seconds since the Unix epoch.
    pub expires_at: u64,
}

/// The name of a channel in which `*` stands for any text, also for none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// `None` if the text is empty, too long, or has control characters.
    pub fn parse(text: &str) -> Option<Pattern> {
        let good =
            !text.is_empty() && text.len() <= CHANNEL_NAME_BYTES_MAX && !text.chars().any(char::is_control);
        good.then(|| Pattern(text.into()))
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the channel is one of those meant. Each part between stars is found at its first place, so the work
    /// is at most the product of the two lengths.
    pub fn matches(&self, channel: &ChannelName) -> bool {
        let mut name = channel.as_str();
        let Some((first, rest)) = self.0.split_once('*') else { return *self.0 == *name };
        let Some(after) = name.strip_prefix(first) else { return false };
        name = after;
        let Some((middle, last)) = rest.rsplit_once('*') else { return name.ends_with(rest) };
        for part in middle.split('*') {
            let Some(at) = name.find(part) else { return false };
            name = &name[at + part.len()..];
        }
        name.ends_with(last)
    }
}

impl Grants {
    /// Whether nothing is allowed.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.publish.is_empty() && self.subscribe.is_empty()
    }

    /// Whether the session may subscribe to the channel.
    pub fn may_subscribe(&self, channel: &ChannelName) -> bool {
        self.channels.iter().any(|pattern| pattern.matches(channel)) || self.subscribe.contains(channel)
    }

    /// Whether the session may publish to the channel.
    pub fn may_publish(&self, channel: &ChannelName) -> bool {
        self.publish.iter().any(|pattern| pattern.matches(channel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        let matches = |pattern: &str, name: &str| {
            Pattern::parse(pattern).unwrap().matches(&ChannelName::try_from(name).unwrap())
        };
        for (pattern, name) in [
            ("news", "news"),
            ("*", "anything:at:all"),
            ("chat:*", "chat:"),
            ("chat:*", "chat:42"),
            ("*:42", "chat:42"),
            ("chat:*:typing", "chat:42:typing"),
            ("a*b*c", "abbc"),
            ("a*b*c", "aXbYbc"),
            ("a**c", "ac"),
            ("*b*", "abc"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("news", "new"),
            ("news", "news2"),
            ("chat:*", "chat"),
            ("chat:*", "xchat:1"),
            ("a*a", "a"),
            ("a*b*c", "acb"),
            ("ab*bc", "abc"),
            ("*bb*b", "abb"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
