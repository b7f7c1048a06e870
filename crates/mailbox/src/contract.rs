//! One suite for every store: what is asked through the port, and what must come of it.
//!
//! A test crate makes its store a [`Subject`] and writes `campanile_mailbox::contract_suite!(MyStore);`, which gives it
//! one test for each promise. The suite knows nothing of what is behind the port. Order is only looked for among the
//! operations of one user.

pub mod crashes;
pub mod failures;
pub mod order;
pub mod random;
pub mod rules;

mod asker;
mod oracle;

use std::sync::Arc;

use crate::operations::Port;
use crate::{MailboxLimits, PlacementKey};

pub use crate::model::Call;

/// When most of this happens, in milliseconds since the Unix epoch.
const NOW: u64 = 1_000_000;
/// When most messages expire.
const LATER: u64 = NOW + 600_000;
/// Within so many milliseconds a store that has failed is opened anew, and what has expired is removed.
const SOON_MS: u64 = 1_000;
/// Room for all that is stored here.
const ROOMY: MailboxLimits = MailboxLimits {
    messages_per_device_max: 100_000,
    bytes_per_device_max: 1 << 30,
    bytes_total_max: u64::MAX,
};

/// A store under test, with a few ports, driven by hand.
pub trait Subject: Sized {
    /// A store that holds nothing. What it does at random comes from the seed.
    fn make(limits: MailboxLimits, ports: usize, seed: u64) -> Self;

    /// The epoch of the store's numbers.
    fn epoch(&self) -> u64;

    /// The key that places users.
    fn placement_key(&self) -> PlacementKey;

    /// The port of a shard.
    fn port(&self, index: usize) -> Arc<Port>;

    /// Carries out what was asked, at this time. What is not to be answered before it is durable need not be answered.
    fn begin(&mut self, now_ms: u64);

    /// Carries out what was asked, at this time, and answers all of it.
    fn turn(&mut self, now_ms: u64);

    /// Closes the store in order and opens it again, with new ports.
    fn restart(self) -> Self;

    /// What is left when the process is killed, opened again, with new ports.
    fn crash(self) -> Self;

    /// The next call of this kind fails inside, beside those that are to fail already.
    fn fail(&mut self, call: Call);
}

/// One test for each promise of a store.
#[macro_export]
macro_rules! contract_suite {
    ($subject:ty) => {
        $crate::contract_suite! { $subject;
            rules::each_device_reads_its_own_envelopes_in_order,
            rules::numbers_are_given_out_once_whatever_happens,
            rules::the_epoch_and_the_placement_key_are_the_stores_own,
            rules::a_page_ends_at_either_limit_but_has_one_message,
            rules::a_page_has_a_limit_of_its_own,
            rules::a_full_device_fails_alone_and_keeps_its_topic,
            rules::a_device_is_full_by_bytes_and_a_larger_replacement_is_refused,
            rules::a_mailbox_is_not_full_of_what_has_expired,
            rules::a_topic_is_replaced_device_by_device,
            rules::a_confirmed_envelope_counts_as_stored_and_is_not_written,
            rules::a_deduplication_id_is_remembered_with_what_became_of_the_envelopes,
            rules::nothing_is_remembered_of_what_nobody_could_take,
            rules::the_oldest_ids_of_publishers_and_of_siblings_are_forgotten_apart,
            rules::a_watermark_never_moves_back_and_is_kept_without_messages,
            rules::one_message_is_removed,
            rules::the_expired_are_passed_over_and_soon_removed,
            rules::devices_are_registered_up_to_the_limit_and_numbers_are_not_given_twice,
            rules::nothing_is_kept_of_a_device_that_is_turned_away,
            rules::the_last_time_seen_does_not_go_back,
            order::a_read_sees_what_was_asked_before_it,
            order::a_session_that_opens_sees_what_was_asked_before_it,
            order::promises_come_when_they_are_durable_and_the_rest_at_once,
            order::an_acknowledgement_that_overtakes_its_message_spares_the_write_and_not_the_answer,
            order::a_trim_spares_nothing_that_was_asked_after_it,
            order::what_is_asked_through_one_port_is_answered_there,
            failures::after_a_failed_sync_every_promise_is_a_failure_and_every_shard_hears_of_it,
            failures::while_the_store_cannot_be_opened_everything_is_refused,
            failures::whatever_is_heard_after_the_news_of_a_failure_was_done_after_it,
            failures::a_disk_that_goes_on_failing_is_not_opened_again_for_every_operation,
            failures::every_question_is_answered_once_and_what_was_promised_is_there,
            crashes::what_was_answered_survives,
            crashes::a_message_is_kept_with_its_id_and_its_topic_or_not_at_all,
            random::a_store_does_what_a_map_does,
        }
    };
    ($subject:ty; $($room:ident::$promise:ident,)*) => {
        $(
            #[test]
            fn $promise() {
                $crate::contract::$room::$promise::<$subject>();
            }
        )*
    };
}
