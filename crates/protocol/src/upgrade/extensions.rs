//! Negotiation of permessage-deflate (RFC 7692 §7.1) in `Sec-WebSocket-Extensions` (RFC 6455 §9.1).

/// What a client offers.
pub(super) const OFFER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// An offer of permessage-deflate that can be accepted: with known parameters, each at most once and with a valid
/// value, and without a window below 32 KiB for the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateOffer {
    /// Whether the offer has `server_max_window_bits`: then the answer must have it too (RFC 7692 §7.1.2.1).
    server_window: bool,
}

impl DeflateOffer {
    /// The value of the header that accepts the offer. A server may ask for both `no_context_takeover` whether or not
    /// they were offered (RFC 7692 §7.1.1).
    pub(super) const fn answer(self) -> &'static str {
        if self.server_window {
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15"
        } else {
            OFFER
        }
    }
}

/// The first offer in `header` that can be accepted.
pub(super) fn acceptable_offer(header: &str) -> Option<DeflateOffer> {
    split(header, b',').filter_map(Parameters::parse).find_map(|offer| match offer.server_max_window_bits {
        None => Some(DeflateOffer { server_window: false }),
        // Any smaller window would need a compressor of its own.
        Some(15) => Some(DeflateOffer { server_window: true }),
        Some(_) => None,
    })
}

/// Whether `header` answers [`OFFER`] as RFC 7692 §7.1 wants it: the server keeps no context. It may do without that
/// promise of ours, and may have a smaller window, but must not limit ours, since we did not offer that.
pub(super) fn is_accepted(header: &str) -> bool {
    let mut extensions = split(header, b',').filter(|extension| !extension.is_empty());
    let accepted = extensions.next().and_then(Parameters::parse).is_some_and(|parameters| {
        parameters.server_no_context_takeover && parameters.client_max_window_bits.is_none()
    });
    accepted && extensions.next().is_none()
}

/// The parameters of permessage-deflate (RFC 7692 §7.1).
#[derive(Debug, Default, PartialEq, Eq)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    /// 8 to 15.
    server_max_window_bits: Option<u8>,
    /// 8 to 15; an offer may be without a value.
    client_max_window_bits: Option<Option<u8>>,
}

impl Parameters {
    /// Parses one extension of a list. `None` if it is another one, or if a parameter is unknown, repeated or invalid:
    /// such an offer is declined (RFC 7692 §7).
    fn parse(extension: &str) -> Option<Self> {
        let mut parts = split(extension, b';');
        if parts.next() != Some("permessage-deflate") {
            return None;
        }
        let mut parameters = Self::default();
        for part in parts {
            parameters.add(part)?;
        }
        Some(parameters)
    }

    fn add(&mut self, parameter: &str) -> Option<()> {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim_end_matches(WHITE), Some(value.trim_start_matches(WHITE))),
            None => (parameter, None),
        };
        let repeated = match (name, value) {
            ("server_no_context_takeover", None) => {
                std::mem::replace(&mut self.server_no_context_takeover, true)
            }
            ("client_no_context_takeover", None) => {
                std::mem::replace(&mut self.client_no_context_takeover, true)
            }
            ("server_max_window_bits", Some(value)) => {
                self.server_max_window_bits.replace(window_bits(value)?).is_some()
            }
            ("client_max_window_bits", None) => self.client_max_window_bits.replace(None).is_some(),
            ("client_max_window_bits", Some(value)) => {
                self.client_max_window_bits.replace(Some(window_bits(value)?)).is_some()
            }
            _ => return None,
        };
        (!repeated).then_some(())
    }
}

/// Spaces and tabs may stand between all parts.
const WHITE: [char; 2] = [' ', '\t'];

/// A window's size: 8 to 15 in decimal without leading zeros (RFC 7692 §7.1.2), as a token or quoted.
fn window_bits(value: &str) -> Option<u8> {
    let mut plain = [0; 2];
    let mut len = 0;
    let mut push = |byte: u8| {
        *plain.get_mut(len)? = byte;
        len += 1;
        Some(())
    };
    match value.strip_prefix('"') {
        None => value.bytes().try_for_each(&mut push)?,
        Some(quoted) => {
            let mut bytes = quoted.strip_suffix('"')?.bytes();
            while let Some(byte) = bytes.next() {
                match byte {
                    b'"' => return None,
                    b'\\' => push(bytes.next()?)?,
                    byte => push(byte)?,
                }
            }
        }
    }
    match &plain[..len] {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// The parts of `text` between separators outside of quoted strings (RFC 9110 §5.6.4), without the white space around
/// them. A quoted string that does not end takes all the rest into its part.
fn split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut quoted, mut escaped) = (false, false);
        let end = text.bytes().position(|byte| {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                byte => return byte == separator && !quoted,
            }
            false
        });
        let part = match end {
            Some(end) => {
                rest = Some(&text[end + 1..]);
                &text[..end]
            }
            None => {
                rest = None;
                text
            }
        };
        Some(part.trim_matches(WHITE))
    })
}
