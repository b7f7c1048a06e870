//! Compares what was promised with what arrived. No I/O, no time: records in, breaches out.
//!
//! What must hold:
//! 1. Every accepted message was received by every device that its answer named as taken, and every device that it was
//!    meant for was named.
//! 2. Within a session numbers grow strictly. First receipts of a device come in the order of their numbers, over all
//!    sessions. In the order of the numbers a user's messages are in the order in which they were published.
//! 3. A message keeps its id and, per device, its number. No two messages share an id, or a number at one device.
//! 4. A retry with the same deduplication id stores nothing twice: a content has one id.
//! 5. Nothing is received that was not published, and nothing by whom it was not for.
//!
//! There is one thing that 4 cannot exclude for a gateway which delivers before its commit: it is killed in between,
//! the publisher never heard of the first id, the retry is stored under a second. Such an *orphan* may have been seen
//! in the incarnation that was killed before it answered, and never again; anything else is a breach.

use std::collections::{HashMap, HashSet};

use super::breach::Breach;
use super::records::{Device, Forgery, Number, Outcome, Publication, Receipt, Records};

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) breaches: Vec<Breach>,
    /// Messages that were accepted.
    pub(crate) accepted: u64,
    /// Messages that were not.
    pub(crate) refused: u64,
    /// Messages with attempts that were not answered.
    pub(crate) retried: u64,
    /// Deliveries that accepted messages make.
    pub(crate) expected: u64,
    /// Receipts in all.
    pub(crate) receipts: u64,
    /// Receipts of what the device had before.
    pub(crate) repeats: u64,
    /// Contents that were seen under a second id before a kill; see the module.
    pub(crate) orphans: u64,
}

/// Finds everything that is wrong.
pub(crate) fn check(records: &Records) -> Findings {
    let mut findings = Findings::default();
    let publications: HashMap<Number, &Publication> =
        records.publications.iter().map(|publication| (publication.number, publication)).collect();
    check_content(records, &publications, &mut findings);
    let names = check_names(records, &publications, &mut findings);
    for device in &records.devices {
        check_order(device, &names, &mut findings);
    }
    check_answers(records, &names, &mut findings);
    findings
}

/// A receipt of a message that was published, and who received it.
#[derive(Clone, Copy)]
struct Named {
    number: Number,
    id: u128,
    device: usize,
    seq: u64,
    incarnation: u32,
}

/// The id of each message that counts.
type Names = HashMap<Number, u128>;

/// Rule 5.
fn check_content(records: &Records, publications: &HashMap<Number, &Publication>, findings: &mut Findings) {
    for Device { user, device, receipts } in &records.devices {
        let (user, device) = (*user, *device);
        for &Receipt { session, seq, id, content, .. } in receipts {
            findings.receipts += 1;
            let published = match content {
                Ok(number) => publications.get(&number).ok_or(Forgery::Damaged(number)),
                Err(forgery) => Err(forgery),
            };
            match published {
                Err(forgery) => {
                    findings.breaches.push(Breach::Forged { user, device, session, seq, id, forgery });
                }
                Ok(publication) if publication.user != user || publication.asked & (1 << device) == 0 => {
                    let number = publication.number;
                    findings.breaches.push(Breach::Astray { number, user, device, session, seq });
                }
                Ok(_) => {}
            }
        }
    }
}

/// Rules 3 and 4. Gives the id of each message.
fn check_names(
    records: &Records,
    publications: &HashMap<Number, &Publication>,
    findings: &mut Findings,
) -> Names {
    let mut receipts: Vec<Named> = Vec::new();
    for (device, Device { receipts: seen, .. }) in records.devices.iter().enumerate() {
        receipts.extend(seen.iter().filter_map(|&Receipt { incarnation, seq, id, content, .. }| {
            let number = content.ok().filter(|number| publications.contains_key(number))?;
            Some(Named { number, id, device, seq, incarnation })
        }));
    }
    receipts.sort_unstable_by_key(|named| (named.number, named.id, named.device, named.seq));
    let mut names = Names::new();
    for publication in &records.publications {
        if let Outcome::Accepted { id, .. } = publication.outcome {
            names.insert(publication.number, id);
        }
    }
    for of_message in receipts.chunk_by(|a, b| a.number == b.number) {
        let publication = publications[&of_message[0].number];
        // Without an answer, the id that was seen last.
        let last = || of_message.iter().max_by_key(|named| named.incarnation).map(|named| named.id);
        let name = *names.entry(publication.number).or_insert_with(|| last().unwrap_or_default());
        check_ids(records, publication, name, of_message, findings);
    }
    check_shared_ids(&receipts, &names, findings);
    names
}

/// The receipts of one message, sorted by id, device and number.
fn check_ids(
    records: &Records,
    publication: &Publication,
    name: u128,
    receipts: &[Named],
    findings: &mut Findings,
) {
    let number = publication.number;
    for of_id in receipts.chunk_by(|a, b| a.id == b.id) {
        for pair in
            of_id.windows(2).filter(|pair| pair[0].device == pair[1].device && pair[0].seq != pair[1].seq)
        {
            let Device { user, device, .. } = records.devices[pair[0].device];
            let (id, seqs) = (pair[0].id, (pair[0].seq, pair[1].seq));
            findings.breaches.push(Breach::SeqChanged { number, user, device, id, seqs });
        }
        let Named { id, device, .. } = of_id[0];
        if id == name {
            continue;
        }
        if is_orphan(publication, of_id) {
            findings.orphans += 1
        } else {
            let Device { user, device, .. } = records.devices[device];
            let incarnations = incarnations(of_id);
            findings.breaches.push(Breach::IdChanged { number, user, device, ids: (name, id), incarnations });
        }
    }
}

/// The first and last incarnation in which any of these was seen.
fn incarnations(receipts: &[Named]) -> (u32, u32) {
    let seen = || receipts.iter().map(|named| named.incarnation);
    (seen().min().unwrap_or(0), seen().max().unwrap_or(0))
}

/// Whether an id that is not the message's may have been seen: in one incarnation only, which was killed before it
/// answered, and not the one that answered in the end.
fn is_orphan(publication: &Publication, receipts: &[Named]) -> bool {
    let (first, last) = incarnations(receipts);
    let answered = match publication.outcome {
        Outcome::Accepted { incarnation, .. } => incarnation,
        Outcome::Refused => u32::MAX,
    };
    first == last
        && first < answered
        && publication.unanswered.iter().any(|&(from, to)| (from..=to).contains(&first))
}

/// No two messages share an id: neither as they were received nor as they were answered.
fn check_shared_ids(receipts: &[Named], names: &Names, findings: &mut Findings) {
    let received = receipts.iter().map(|named| (named.id, named.number));
    let mut uses: Vec<(u128, Number)> =
        received.chain(names.iter().map(|(&number, &id)| (id, number))).collect();
    uses.sort_unstable();
    uses.dedup();
    for pair in uses.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        let (id, numbers) = (pair[0].0, (pair[0].1, pair[1].1));
        findings.breaches.push(Breach::SharedId { id, numbers });
    }
}

/// Rule 2, and that no two messages share a number at this device.
fn check_order(record: &Device, names: &Names, findings: &mut Findings) {
    let (user, device) = (record.user, record.device);
    let mut seen = HashMap::with_capacity(record.receipts.len());
    let (mut session_seq, mut first_seq) = ((u32::MAX, 0), 0);
    for &Receipt { session, seq, content, .. } in &record.receipts {
        let (last_session, last) = session_seq;
        if session == last_session && seq <= last {
            findings.breaches.push(Breach::NotGrowing { user, device, session, seqs: (last, seq) });
        }
        session_seq = (session, seq);
        match seen.insert(seq, content) {
            Some(before) => {
                findings.repeats += 1;
                if before != content
                    && let (Ok(before), Ok(now)) = (before, content)
                {
                    findings.breaches.push(Breach::SharedSeq { user, device, seq, numbers: (before, now) });
                }
            }
            None if seq < first_seq => {
                findings.breaches.push(Breach::Reordered { user, device, session, seqs: (first_seq, seq) });
            }
            None => first_seq = seq,
        }
    }
    check_publish_order(record, names, findings);
}

/// In the order of their numbers, messages are in the order in which they were published. Orphans are left out: the
/// message is there a second time.
fn check_publish_order(record: &Device, names: &Names, findings: &mut Findings) {
    let named = record.receipts.iter().filter_map(|receipt| {
        let number = receipt.content.ok()?;
        (names.get(&number) == Some(&receipt.id)).then_some((receipt.seq, number))
    });
    let mut order: Vec<(u64, Number)> = named.collect();
    order.sort_unstable();
    order.dedup();
    for pair in order.windows(2).filter(|pair| pair[0].1 >= pair[1].1 && pair[0].0 != pair[1].0) {
        let (user, device) = (record.user, record.device);
        let (seqs, numbers) = ((pair[0].0, pair[1].0), (pair[0].1, pair[1].1));
        // The same message under two numbers has been reported as such.
        if numbers.0 != numbers.1 {
            findings.breaches.push(Breach::PublishOrder { user, device, seqs, numbers });
        }
    }
}

/// Rule 1.
fn check_answers(records: &Records, names: &Names, findings: &mut Findings) {
    // By device: what it has received under the right id, and under any.
    let received: HashMap<(u32, u32), (HashSet<Number>, HashSet<Number>)> = records
        .devices
        .iter()
        .map(|record| {
            let (mut right, mut any) = (HashSet::new(), HashSet::new());
            for receipt in &record.receipts {
                let Ok(number) = receipt.content else { continue };
                any.insert(number);
                if names.get(&number) == Some(&receipt.id) {
                    right.insert(number);
                }
            }
            ((record.user, record.device), (right, any))
        })
        .collect();
    for publication in &records.publications {
        let &Publication { number, user, asked, .. } = publication;
        findings.retried += u64::from(!publication.unanswered.is_empty());
        let Outcome::Accepted { id, taken, failed, .. } = publication.outcome else {
            findings.refused += 1;
            continue;
        };
        findings.accepted += 1;
        for device in (0..u32::BITS).filter(|device| (asked | taken | failed) & (1 << device) != 0) {
            let bit = 1 << device;
            if asked & bit == 0 || (taken | failed) & bit == 0 {
                findings.breaches.push(Breach::WrongDevices {
                    number,
                    user,
                    device,
                    asked: asked & bit != 0,
                });
            }
            if taken & bit == 0 {
                continue;
            }
            findings.expected += 1;
            let (right, any) = received
                .get(&(user, device))
                .map_or((false, false), |(right, any)| (right.contains(&number), any.contains(&number)));
            match (right, any) {
                (true, _) => {}
                (false, true) => findings.breaches.push(Breach::OtherIdOnly { number, user, device, id }),
                (false, false) => findings.breaches.push(Breach::Lost { number, user, device, id }),
            }
        }
    }
}

#[cfg(test)]
mod tests;
