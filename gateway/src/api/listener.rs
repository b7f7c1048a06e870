//! Who is answered where.

use std::fmt;

/// A listener of the API. Each has connections of its own: devices that poll cannot take the places of publishers, nor
/// either of them those of operators.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Listener {
    /// For publishers: pushes, channels and users, over HTTP and gRPC.
    Api,
    /// For operators: metrics and statistics.
    Admin,
    /// For devices that poll, and their pages in browsers.
    Devices,
}

impl Listener {
    /// All of them.
    pub const ALL: [Listener; 3] = [Listener::Api, Listener::Admin, Listener::Devices];

    /// The key of its address in the configuration.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Listener::Api => "api_listen",
            Listener::Admin => "admin_listen",
            Listener::Devices => "devices_listen",
        }
    }

    /// Its name among the labels of metrics and in the line that says where a node listens.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Listener::Api => "api",
            Listener::Admin => "admin",
            Listener::Devices => "devices",
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Listener::Api => "the API",
            Listener::Admin => "operators",
            Listener::Devices => "devices that poll",
        })
    }
}
