//! The channels that are users' statuses, by their names.

use campanile_protocol::ids::{ChannelName, UserId};

use crate::namespaces::PRESENCE_NAMESPACE;

/// The name of the channel that is a user's status; `None` if no channel can have it.
pub(super) fn status_of(user: &UserId) -> Option<ChannelName> {
    ChannelName::try_from(format!("{PRESENCE_NAMESPACE}:{user}").as_str()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::user_of_status;

    #[test]
    fn a_users_status_has_its_own_channel_and_no_other_is_one() {
        let user = UserId::try_from("ann:1").unwrap();
        let status = status_of(&user).unwrap();
        assert_eq!(user_of_status(&status), Some("ann:1"));
        for other in ["ann", "presence", "presence2:ann", "chat:presence:ann"] {
            assert_eq!(user_of_status(&ChannelName::try_from(other).unwrap()), None, "{other}");
        }
    }
}
