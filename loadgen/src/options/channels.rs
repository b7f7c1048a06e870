//! The options that concern channels.

use clap::{Args, ValueEnum};

use crate::audience::Audience;
use crate::channels::{Names, Subscriptions, TEMPLATES_MAX, Targets, Template};

/// A help text with `{n}` between its two parts. Clap puts a line break where it finds these three characters, so there
/// is an escape sequence among them, which shows nothing on a terminal and is left out elsewhere.
macro_rules! literal {
    ($before:literal, $after:literal) => {
        concat!($before, "{\x1b[0mn}", $after)
    };
}

/// Channels of one run.
const CHANNELS_MAX: u32 = 1_000_000;
/// Subscriptions of one run.
const SUBSCRIPTIONS_MAX: u64 = 50_000_000;

/// What devices subscribe to, and what is published there.
#[derive(Args, Clone, Debug)]
pub struct ChannelOptions {
    /// Devices subscribe to this channel; `{n}` stands for a number below --channels. Repeatable
    #[arg(
        long,
        help = literal!("Devices subscribe to this channel; `", "` stands for a number below --channels. Repeatable"),
        value_name = "NAME",
        value_parser = Template::parse,
        conflicts_with = "offline"
    )]
    pub subscribe: Vec<Template>,
    /// How many channels each name with `{n}` stands for
    #[arg(
        long,
        help = literal!("How many channels each name with `", "` stands for"),
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(CHANNELS_MAX))
    )]
    pub channels: Option<u32>,
    /// To how many channels of each name with `{n}` one device subscribes: device i to those from i * K on, modulo the
    /// count
    #[arg(
        long,
        help = literal!(
            "To how many channels of each name with `",
            "` one device subscribes: device i to those from i * K on, modulo the count"
        ),
        value_name = "K",
        default_value_t = 1,
        requires = "channels",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub subscriptions_per_device: u32,
    /// One in so many devices looks at each message of its channels; the others count frames, which costs next to
    /// nothing
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        requires = "subscribe",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub check_every: u32,
    /// Devices that stopped reading (--stalled-percent) read again when publishing has ended
    #[arg(long, requires = "subscribe", requires = "publish_to")]
    pub stalled_resume: bool,
    /// Publishes to this channel instead of to devices; `{n}` as in --subscribe, at random for each message. Repeatable
    #[arg(
        long,
        help = literal!(
            "Publishes to this channel instead of to devices; `",
            "` as in --subscribe, at random for each message. Repeatable"
        ),
        value_name = "NAME",
        value_parser = Template::parse,
        conflicts_with_all = ["to", "durability", "offline"]
    )]
    pub publish_to: Vec<Template>,
    /// Who publishes to channels: the API's clients, or the devices in turn over their own connections
    #[arg(long, value_name = "WHO", value_enum, default_value_t, requires = "publish_to")]
    pub publish_from: PublishFrom,
}

/// Who publishes to channels.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PublishFrom {
    /// Publishers, over HTTP.
    #[default]
    Api,
    /// Devices, over their own connections.
    Devices,
}

impl PublishFrom {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            PublishFrom::Api => "api",
            PublishFrom::Devices => "devices",
        }
    }
}

/// What a run has to do with channels.
#[derive(Clone, Debug, Default)]
pub struct ChannelPlan {
    /// What devices are subscribed to.
    pub subscriptions: Option<Subscriptions>,
    /// Where messages are published; `None` if they go to devices.
    pub targets: Option<Targets>,
}

impl ChannelOptions {
    /// Whether devices publish.
    pub fn is_from_devices(&self) -> bool {
        self.publish_from == PublishFrom::Devices
    }

    /// Checks what the types of the options cannot.
    pub(super) fn plan(&self, audience: &Audience, publishes: bool) -> Result<ChannelPlan, String> {
        for (option, templates) in [("--subscribe", &self.subscribe), ("--publish-to", &self.publish_to)] {
            if templates.iter().any(Template::is_numbered) && self.channels.is_none() {
                return Err(format!("{option} with {{n}} needs --channels"));
            }
            if templates.len() > TEMPLATES_MAX {
                return Err(format!("{option}: more than {TEMPLATES_MAX} names"));
            }
        }
        let named = |option: &str, templates: &Vec<Template>| {
            let count = self.channels.unwrap_or(1);
            let numbered = templates.iter().filter(|template| template.is_numbered()).count() as u64;
            if numbered * u64::from(count) > CHANNELS_MAX.into() {
                return Err(format!("{option}: more than {CHANNELS_MAX} channels"));
            }
            let names = Names::new(templates.clone(), count).map_err(|error| format!("{option}: {error}"))?;
            Ok((!templates.is_empty()).then_some(names))
        };
        let subscriptions = named("--subscribe", &self.subscribe)?
            .map(|names| Subscriptions::new(names, self.subscriptions_per_device));
        let each = subscriptions.as_ref().map_or(0, Subscriptions::of_each);
        if u64::from(each) * u64::from(audience.devices) > SUBSCRIPTIONS_MAX {
            return Err(format!("{each} subscriptions for each device are more than {SUBSCRIPTIONS_MAX}"));
        }
        let targets =
            named("--publish-to", &self.publish_to)?.map(|names| Targets::new(names, audience.seed));
        if targets.is_some() && !publishes {
            return Err("--publish-to needs --rate or --max".into());
        }
        if self.is_from_devices() && audience.readers(0..audience.devices) == 0 {
            return Err("--publish-from devices needs devices that read".into());
        }
        Ok(ChannelPlan { subscriptions, targets })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use crate::options::Options;

    #[test]
    fn help_shows_the_mark_for_a_number_as_it_is_written() {
        let help = Options::command().render_long_help().to_string();
        assert_eq!(help.matches("`{n}`").count(), 4, "{help}");
    }
}
