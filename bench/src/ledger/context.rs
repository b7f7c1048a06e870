//! What was seen around a message that is missing, so that a breach can be understood from the list alone.

use std::fmt::Write as _;

use super::breach::Breach;
use super::records::{Number, Outcome, Publication, Receipt, Records};

/// Receipts that are shown on either side.
const AROUND: usize = 6;

/// Lines about a breach: what the publisher knows of the message, and what the device saw near its place.
pub(crate) fn context(records: &Records, breach: &Breach) -> String {
    let (Breach::Lost { number, user, device, id } | Breach::OtherIdOnly { number, user, device, id }) =
        *breach
    else {
        return String::new();
    };
    let mut text = String::new();
    let published = records.publications.iter().find(|publication| publication.number == number);
    if let Some(Publication { asked, confirmed, stored, unanswered, outcome, .. }) = published {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "    published for {asked:#b}, attempts without an answer in {unanswered:?}, {outcome:?}"
        );
        let _ = writeln!(text, "    confirmed by {confirmed:#b}, stored for {stored:#b}");
    }
    let Some(record) = records.devices.iter().find(|record| (record.user, record.device) == (user, device))
    else {
        return text;
    };
    // The second half of an id is the message's number at every device.
    let seq = id as u64;
    let mut near: Vec<(usize, &Receipt)> = record.receipts.iter().enumerate().collect();
    near.sort_by_key(|(_, receipt)| receipt.seq.abs_diff(seq));
    near.truncate(2 * AROUND);
    near.sort_by_key(|(at, _)| *at);
    for (at, Receipt { session, manner, caught_up, incarnation, seq, content, .. }) in near {
        let what = content.map_or("something else".into(), |number| format!("message {number}"));
        let _ = writeln!(
            text,
            "    receipt {at}: session {session}, incarnation {incarnation}, number {seq}: {what}, {manner:?}, caught up: {caught_up}"
        );
    }
    let before = neighbour(records, user, device, number);
    let _ = writeln!(text, "    the message before it for this device: {before:?}");
    text
}

/// The message that was published before for the same device.
fn neighbour(records: &Records, user: u32, device: u32, number: Number) -> Option<(Number, &Outcome)> {
    let bit = 1 << device;
    let before = records.publications.iter().filter(|publication| {
        publication.user == user && publication.asked & bit != 0 && publication.number < number
    });
    before
        .max_by_key(|publication| publication.number)
        .map(|publication| (publication.number, &publication.outcome))
}

#[cfg(test)]
mod tests {
    use super::super::records::Device;
    use super::*;

    #[test]
    fn a_loss_is_shown_with_its_surroundings() {
        let outcome = |id| Outcome::Accepted { id, taken: 1, failed: 0, incarnation: 2 };
        let publication = |number, id| Publication {
            number,
            user: 3,
            asked: 1,
            confirmed: 0,
            stored: 1,
            unanswered: vec![(1, 1)],
            outcome: outcome(id),
        };
        let receipt = |seq| Receipt {
            session: 4,
            manner: super::super::records::Manner::Slowly,
            caught_up: true,
            incarnation: 2,
            seq,
            id: 0,
            content: Ok(seq),
        };
        let records = Records {
            publications: vec![publication(7, 70), publication(8, 80)],
            devices: vec![Device { user: 3, device: 0, receipts: (60..100).map(receipt).collect() }],
        };
        let text = context(&records, &Breach::Lost { number: 8, user: 3, device: 0, id: 80 });
        assert!(
            text.contains("in [(1, 1)]") && text.contains("before it for this device: Some((7,"),
            "{text}"
        );
        assert!(text.contains("number 79: message 79") && !text.contains("number 95"), "{text}");
        let other = Breach::SharedId { id: 1, numbers: (1, 2) };
        assert_eq!(context(&records, &other), "");
    }
}
