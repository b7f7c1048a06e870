//! How many handshakes are under way from each address.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use crate::hashing::HashKey;

/// Handshakes under way, by network.
pub(super) struct Addresses(HashMap<IpAddr, u32, HashKey>);

impl Addresses {
    /// No handshake is under way.
    pub(super) fn new(key: HashKey) -> Addresses {
        Addresses(HashMap::with_hasher(key))
    }

    /// All that are counted, in the order of their networks.
    pub(super) fn under_way(&self) -> BTreeMap<IpAddr, u32> {
        self.0.iter().map(|(&network, &count)| (network, count)).collect()
    }

    /// A handshake has begun: how many are under way from its network now.
    pub(super) fn enter(&mut self, network: IpAddr) -> u32 {
        let under_way = self.0.entry(network).or_default();
        *under_way += 1;
        *under_way
    }

    /// A handshake that was counted is over.
    pub(super) fn leave(&mut self, network: IpAddr) {
        let Some(under_way) = self.0.get_mut(&network) else { return };
        *under_way -= 1;
        if *under_way == 0 {
            self.0.remove(&network);
        }
    }
}

/// What the handshakes of an address are counted by: an IPv4 address, or the /64 that one IPv6 host has to itself.
pub(super) fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{Addresses, HashKey, network_of};

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn one_host_cannot_have_many_networks_and_two_do_not_share_one() {
        assert_eq!(network_of(address("192.0.2.7")), address("192.0.2.7"));
        let of_host = ["2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"].map(address).map(network_of);
        assert_eq!(of_host, [address("2001:db8:1:2::"); 2]);
        assert_ne!(network_of(address("2001:db8:1:3::1")), of_host[0]);
    }

    #[test]
    fn an_address_whose_handshakes_are_over_owns_no_memory() {
        let mut addresses = Addresses::new(HashKey::new([0; 16]));
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        assert_eq!([one, one, other].map(|network| addresses.enter(network)), [1, 2, 1]);
        addresses.leave(one);
        assert_eq!(addresses.enter(one), 2);
        [one, one, other].into_iter().for_each(|network| addresses.leave(network));
        assert!(addresses.0.is_empty());
        addresses.leave(one);
        assert!(addresses.0.is_empty(), "it was not counted");
    }
}
