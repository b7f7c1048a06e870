//! Channels: what they are called, who is subscribed to which, and where each message goes.
//!
//! A name may contain `{n}`, which stands for the numbers below a count. Who is subscribed to what, and where a message
//! is published, follows from the numbers of the device and of the message, so that every receiver can tell what should
//! have reached it, without a list.

use std::fmt::Write as _;

use campanile_protocol::ids::ChannelName;

use crate::audience::mix;

/// Names that one run may give, since a token takes no more patterns.
pub const TEMPLATES_MAX: usize = 64;
/// What stands for the number of a channel.
const NUMBER: &str = "{n}";

/// The name of a channel, or of many if it contains `{n}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    prefix: String,
    /// What follows the number; `None` if there is none.
    suffix: Option<String>,
}

impl Template {
    /// Reads a name.
    ///
    /// # Errors
    /// In words for the operator: it has more than one `{n}`, or is no name of a channel.
    pub fn parse(text: &str) -> Result<Template, String> {
        let template = match text.split_once(NUMBER) {
            Some((prefix, suffix)) => Template { prefix: prefix.into(), suffix: Some(suffix.into()) },
            None => Template { prefix: text.into(), suffix: None },
        };
        if template.suffix.as_ref().is_some_and(|suffix| suffix.contains(NUMBER)) {
            return Err(format!("`{text}` has more than one {NUMBER}"));
        }
        let mut longest = String::new();
        template.write(u32::MAX, &mut longest);
        ChannelName::try_from(longest.as_str()).map(drop).map_err(|error| format!("`{text}`: {error}"))?;
        Ok(template)
    }

    /// Whether it stands for many channels.
    pub fn is_numbered(&self) -> bool {
        self.suffix.is_some()
    }

    /// Of so many numbers, how many channels it stands for.
    fn channels(&self, count: u32) -> u32 {
        if self.is_numbered() { count } else { 1 }
    }

    /// Appends the name of channel `number`.
    fn write(&self, number: u32, out: &mut String) {
        out.push_str(&self.prefix);
        if let Some(suffix) = &self.suffix {
            // A string takes everything.
            let _ = write!(out, "{number}");
            out.push_str(suffix);
        }
    }

    /// The number of the channel with this name, if it is one of `count`.
    fn number_of(&self, name: &[u8], count: u32) -> Option<u32> {
        let rest = name.strip_prefix(self.prefix.as_bytes())?;
        let Some(suffix) = &self.suffix else { return rest.is_empty().then_some(0) };
        let digits = rest.strip_suffix(suffix.as_bytes())?;
        // One name for each number: `7`, and not `07`.
        if digits.is_empty() || digits.len() > 10 || (digits[0] == b'0' && digits.len() > 1) {
            return None;
        }
        let mut number = 0u64;
        for digit in digits {
            number = number * 10 + u64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
        }
        u32::try_from(number).ok().filter(|number| *number < count)
    }

    /// As a token's claim has it, where `*` stands for any text.
    pub fn pattern(&self) -> String {
        match &self.suffix {
            Some(suffix) => format!("{}*{suffix}", self.prefix),
            None => self.prefix.clone(),
        }
    }
}

/// Names with the channels that they stand for. A channel's *index* counts over all of them.
#[derive(Clone, Debug)]
pub struct Names {
    templates: Vec<Template>,
    /// How many numbers `{n}` stands for.
    count: u32,
}

impl Names {
    /// Names of which those with `{n}` stand for `count` channels each.
    ///
    /// # Errors
    /// In words for the operator: two of them stand for the same channel.
    pub fn new(templates: Vec<Template>, count: u32) -> Result<Names, String> {
        let names = Names { templates, count };
        let mut name = String::new();
        for index in 0..names.channels() {
            name.clear();
            names.write(index, &mut name);
            if names.index_of(name.as_bytes()) != Some(index) {
                return Err(format!("channel `{name}` is named twice"));
            }
        }
        Ok(names)
    }

    /// How many channels there are.
    pub fn channels(&self) -> u32 {
        self.templates.iter().map(|template| template.channels(self.count)).sum()
    }

    /// The name of a channel.
    pub fn name(&self, index: u32) -> String {
        let mut name = String::new();
        self.write(index, &mut name);
        name
    }

    /// Appends the name of a channel.
    pub fn write(&self, index: u32, out: &mut String) {
        let mut number = index;
        for template in &self.templates {
            let channels = template.channels(self.count);
            if number < channels {
                return template.write(number, out);
            }
            number -= channels;
        }
    }

    /// The index of the channel with this name.
    pub fn index_of(&self, name: &[u8]) -> Option<u32> {
        let mut first = 0;
        for template in &self.templates {
            if let Some(number) = template.number_of(name, self.count) {
                return Some(first + number);
            }
            first += template.channels(self.count);
        }
        None
    }

    /// The patterns of a token's claim that allows all of them.
    pub fn patterns(&self) -> Vec<String> {
        self.templates.iter().map(Template::pattern).collect()
    }
}

/// Who is subscribed to what. Of each name with `{n}`, device `i` has the channels from `i * per_device` on, modulo
/// their count; of every other it has the only one.
#[derive(Clone, Debug)]
pub struct Subscriptions {
    names: Names,
    /// Channels of each name with `{n}`.
    per_device: u32,
    /// So many devices subscribe, counted from the first.
    devices: u32,
}

impl Subscriptions {
    /// `per_device` channels of each name with `{n}`, no more than there are.
    pub fn new(names: Names, per_device: u32) -> Subscriptions {
        let per_device = per_device.min(names.count);
        Subscriptions { names, per_device, devices: u32::MAX }
    }

    /// The same, but only so many devices subscribe, counted from the first.
    #[must_use]
    pub fn of_the_first(self, devices: u32) -> Subscriptions {
        Subscriptions { devices, ..self }
    }

    /// How many devices subscribe, counted from the first.
    pub fn devices(&self) -> u32 {
        self.devices
    }

    /// The channels.
    pub fn names(&self) -> &Names {
        &self.names
    }

    fn of_template(&self, template: &Template) -> u32 {
        if template.is_numbered() { self.per_device } else { 1 }
    }

    /// The number of the first channel that a device has of a name with `{n}`.
    fn first_of(&self, device: u32) -> u32 {
        (u64::from(device) * u64::from(self.per_device) % u64::from(self.names.count.max(1))) as u32
    }

    /// How many channels each device is subscribed to.
    pub fn of_each(&self) -> u32 {
        self.names.templates.iter().map(|template| self.of_template(template)).sum()
    }

    /// The channel of a device's subscription `place`, from 0.
    pub fn channel(&self, device: u32, place: u32) -> u32 {
        let (mut first, mut place) = (0, place);
        for template in &self.names.templates {
            let places = self.of_template(template);
            if place < places {
                let number = match template.is_numbered() {
                    true => {
                        (u64::from(self.first_of(device)) + u64::from(place)) % u64::from(self.names.count)
                    }
                    false => 0,
                };
                return first + number as u32;
            }
            first += template.channels(self.names.count);
            place -= places;
        }
        first
    }

    /// Which of a device's subscriptions is to the channel with this name, and the channel's index.
    pub fn place_of(&self, device: u32, name: &[u8]) -> Option<(u32, u32)> {
        let (mut first, mut before) = (0, 0);
        for template in &self.names.templates {
            if let Some(number) = template.number_of(name, self.names.count) {
                let count = u64::from(self.names.count);
                let place = match template.is_numbered() {
                    true => ((u64::from(number) + count - u64::from(self.first_of(device))) % count) as u32,
                    false => 0,
                };
                return (place < self.of_template(template)).then_some((before + place, first + number));
            }
            first += template.channels(self.names.count);
            before += self.of_template(template);
        }
        None
    }

    /// How many of these devices are subscribed to each channel, by index.
    pub fn subscribers(&self, devices: impl Iterator<Item = u32>) -> Vec<u32> {
        let mut subscribers = vec![0; self.names.channels() as usize];
        for device in devices.filter(|device| *device < self.devices) {
            for place in 0..self.of_each() {
                subscribers[self.channel(device, place) as usize] += 1;
            }
        }
        subscribers
    }
}

/// Where messages are published to.
#[derive(Clone, Debug)]
pub struct Targets {
    names: Names,
    /// Decides which message goes where.
    seed: u64,
}

impl Targets {
    /// Channels that messages are spread over at random.
    pub fn new(names: Names, seed: u64) -> Targets {
        Targets { names, seed }
    }

    /// The channels.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The channel of message `number`.
    pub fn channel_of(&self, number: u64) -> u32 {
        let channels = u128::from(self.names.channels());
        // The top bits of a 64-bit hash, scaled: no bias that matters below 2^32.
        ((u128::from(mix(self.seed ^ mix(number))) * channels) >> 64) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str], count: u32) -> Names {
        Names::new(list.iter().map(|name| Template::parse(name).unwrap()).collect(), count).unwrap()
    }

    #[test]
    fn a_number_takes_the_place_of_its_mark() {
        let names = names(&["news", "room:{n}:chat", "{n}"], 12);
        assert_eq!(names.channels(), 25);
        for (index, name) in [(0, "news"), (1, "room:0:chat"), (12, "room:11:chat"), (13, "0"), (24, "11")] {
            assert_eq!((names.name(index).as_str(), names.index_of(name.as_bytes())), (name, Some(index)));
        }
        for name in ["room:12:chat", "room:01:chat", "room::chat", "room:x:chat", "news1", "99999999999", ""]
        {
            assert_eq!(names.index_of(name.as_bytes()), None, "{name}");
        }
        assert_eq!(names.patterns(), ["news", "room:*:chat", "*"]);
    }

    #[test]
    fn what_is_no_name_and_what_is_one_twice_is_refused() {
        for (text, word) in
            [("", "empty"), ("a*", "`*`"), ("{n}{n}", "more than one"), (&"x".repeat(256), "255")]
        {
            let error = Template::parse(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
        let twice = |list: &[&str]| {
            Names::new(list.iter().map(|name| Template::parse(name).unwrap()).collect(), 12).unwrap_err()
        };
        assert!(twice(&["a", "a"]).contains("`a`"));
        assert!(twice(&["a{n}", "a11"]).contains("`a11`"));
        assert!(twice(&["a{n}", "a1{n}"]).contains("`a10`"));
    }

    #[test]
    fn subscriptions_are_spread_evenly_and_each_is_found_by_its_name() {
        let subscriptions = Subscriptions::new(names(&["all", "room:{n}"], 10), 3);
        assert_eq!(subscriptions.of_each(), 4);
        let channels = |device| (0..4).map(|place| subscriptions.channel(device, place)).collect::<Vec<_>>();
        assert_eq!(channels(0), [0, 1, 2, 3]);
        assert_eq!(channels(3), [0, 10, 1, 2], "from room:9 on");
        for device in 0..20 {
            for (place, channel) in (0..).zip(channels(device)) {
                let name = subscriptions.names().name(channel);
                assert_eq!(subscriptions.place_of(device, name.as_bytes()), Some((place, channel)));
            }
        }
        assert_eq!(subscriptions.place_of(0, b"room:3"), None, "somebody else's");
        assert_eq!(subscriptions.place_of(0, b"room:10"), None, "nobody's");
        let subscribers = subscriptions.subscribers(0..20);
        assert_eq!((subscribers[0], &subscribers[1..]), (20, &[6; 10][..]));
        assert_eq!(subscriptions.of_the_first(7).subscribers(0..20)[0], 7);
    }

    #[test]
    fn nobody_is_subscribed_to_a_channel_twice() {
        let subscriptions = Subscriptions::new(names(&["room:{n}"], 2), 5);
        assert_eq!(subscriptions.of_each(), 2);
    }

    #[test]
    fn messages_are_spread_over_all_channels() {
        let targets = Targets::new(names(&["a", "b{n}"], 4), 9);
        let mut messages = [0; 5];
        (0..5_000).for_each(|number| messages[targets.channel_of(number) as usize] += 1);
        assert!(messages.iter().all(|&count| (850..1_150).contains(&count)), "{messages:?}");
    }
}
