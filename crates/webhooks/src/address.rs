//! Which addresses a webhook may go to. The check is on the address that is connected to, at the moment of
//! connecting: names, also names that change their address, and redirects all end here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far webhooks may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// To public addresses only.
    #[default]
    Public,
    /// To public addresses and to this machine, for development.
    PublicAndLoopback,
    /// To any address.
    Anywhere,
}

impl Reach {
    /// Why a webhook may not go to `address`, if it may not: what kind of address it is.
    pub fn refuses(self, address: IpAddr) -> Option<&'static str> {
        match (self, kind(address)?) {
            (Self::Anywhere, _) | (Self::PublicAndLoopback, LOOPBACK) => None,
            (_, kind) => Some(kind),
        }
    }
}

const LOOPBACK: &str = "loopback";

/// What kind of address it is; `None` for a public one.
fn kind(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => kind_v4(address),
        IpAddr::V6(address) => kind_v6(address),
    }
}

/// By the registry of special-purpose IPv4 addresses.
fn kind_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, ..] => Some("unspecified"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some("private"),
        [100, 64..=127, ..] => Some("shared by a carrier's customers"),
        [127, ..] => Some(LOOPBACK),
        [169, 254, ..] => Some("link-local"),
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18..=19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => {
            Some("reserved")
        }
        [224..=239, ..] => Some("multicast"),
        [240..=255, ..] => Some("reserved"),
        _ => None,
    }
}

/// Only 2000::/3 is given out; inside it, and where an IPv4 address is carried, there are exceptions.
fn kind_v6(address: Ipv6Addr) -> Option<&'static str> {
    let carried = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        kind_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some(LOOPBACK),
        // IPv4 in IPv6, NAT64, 6to4: as good as the address that they carry.
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => carried(high, low),
        [0xfc00..=0xfdff, ..] => Some("private"),
        [0xfe80..=0xfebf, ..] => Some("link-local"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        // Teredo and other assignments of the IETF, documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some("reserved"),
        [0x2000..=0x3fff, ..] => None,
        _ => Some("reserved"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(reach: Reach, address: &str) -> Option<&'static str> {
        reach.refuses(address.parse().expect("an address"))
    }

    #[test]
    fn public_addresses_are_allowed() {
        for address in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.169.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2001:4860:4860::8888",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2002:101:101::1",
        ] {
            assert_eq!(refused(Reach::Public, address), None, "{address}");
        }
    }

    #[test]
    fn others_are_refused_however_they_are_written() {
        for (address, kind) in [
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "unspecified"),
            ("10.1.2.3", "private"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.168.0.1", "private"),
            ("100.64.0.1", "shared by a carrier's customers"),
            ("127.0.0.1", "loopback"),
            ("127.255.1.1", "loopback"),
            ("169.254.169.254", "link-local"),
            ("192.0.0.8", "reserved"),
            ("192.0.2.1", "reserved"),
            ("192.88.99.1", "reserved"),
            ("198.18.0.1", "reserved"),
            ("198.51.100.1", "reserved"),
            ("203.0.113.1", "reserved"),
            ("224.0.0.1", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "reserved"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::127.0.0.1", "reserved"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:10.0.0.1", "private"),
            ("::ffff:169.254.169.254", "link-local"),
            ("64:ff9b::7f00:1", "loopback"),
            ("64:ff9b::a00:1", "private"),
            ("64:ff9b:1::1", "reserved"),
            ("2002:7f00:1::", "loopback"),
            ("2002:c0a8:1::1", "private"),
            ("2001::1", "reserved"),
            ("2001:db8::1", "reserved"),
            ("3fff::1", "reserved"),
            ("fc00::1", "private"),
            ("fdff::1", "private"),
            ("fe80::1", "link-local"),
            ("fec0::1", "reserved"),
            ("ff02::1", "multicast"),
            ("100::1", "reserved"),
            ("5f00::1", "reserved"),
        ] {
            assert_eq!(refused(Reach::Public, address), Some(kind), "{address}");
            assert_eq!(refused(Reach::Anywhere, address), None, "{address}");
            let loopback = refused(Reach::PublicAndLoopback, address);
            assert_eq!(loopback, (kind != LOOPBACK).then_some(kind), "{address}");
        }
    }
}
