//! Checkers of `entry`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Entry;
use crate::invariants::{Broken, holds};
use crate::net::check::Tenants;

impl Entry {
    /// Handshakes are counted by address: each that is under way once, and none that is over.
    pub(crate) fn check_addresses(&self, tenants: &Tenants<'_>) -> Result<(), Broken> {
        let mut there: BTreeMap<IpAddr, u32> = BTreeMap::new();
        for handshake in tenants.handshakes.iter().filter(|handshake| handshake.counted) {
            *there.entry(handshake.address).or_default() += 1;
        }
        holds("handshakes are counted by address", self.addresses.under_way() == there, || {
            format!("under way are {there:?}, counted are {:?}", self.addresses.under_way())
        })
    }
}
