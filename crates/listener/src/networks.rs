//! Addresses of networks, as `10.0.0.0/8`: whom a listener knows to stand for many.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Networks and single addresses, written with commas between them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<(IpAddr, u8)>);

impl Networks {
    /// Whether the address lies in one of them.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|(network, bits)| match (network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                same(u128::from(network.to_bits()) << 96, u128::from(address.to_bits()) << 96, *bits)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => same(network.to_bits(), address.to_bits(), *bits),
            _ => false,
        })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether the first `bits` of both are the same.
fn same(a: u128, b: u128, bits: u8) -> bool {
    bits == 0 || (a ^ b) >> (128 - u32::from(bits)) == 0
}

/// A part that is neither an address nor a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotANetwork(String);

impl fmt::Display for NotANetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' is neither an address nor a network such as 10.0.0.0/8", self.0.escape_debug())
    }
}

impl std::error::Error for NotANetwork {}

impl FromStr for Networks {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts
            .map(|part| one(part).ok_or_else(|| NotANetwork(part.to_owned())))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn one(part: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = part.split_once('/').map_or((part, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Some(most), |bits| bits.parse().ok().filter(|bits| *bits <= most))?;
    Some((address, bits))
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written: Vec<String> = self.0.iter().map(|(address, bits)| format!("{address}/{bits}")).collect();
        f.write_str(&written.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lie_in_networks() {
        let networks: Networks = "10.0.0.0/8, 192.168.1.7,2001:db8::/32, ::1".parse().expect("networks");
        for inside in ["10.200.0.1", "192.168.1.7", "2001:db8:1::1", "::1", "::ffff:10.0.0.1"] {
            assert!(networks.contain(inside.parse().expect("an address")), "{inside}");
        }
        for outside in ["11.0.0.1", "192.168.1.8", "2001:db9::1", "::2", "::ffff:11.0.0.1"] {
            assert!(!networks.contain(outside.parse().expect("an address")), "{outside}");
        }
        assert!("0.0.0.0/0".parse::<Networks>().expect("everything").contain([8, 8, 8, 8].into()));
        assert_eq!(networks.to_string().parse(), Ok(networks));
    }

    #[test]
    fn what_is_no_network_is_named() {
        for bad in ["10.0.0.0/33", "proxy.lan", "10.0.0.0/", "10.0.0.0/-1", "::1/129"] {
            let error = bad.parse::<Networks>().expect_err(bad).to_string();
            assert!(error.contains(bad), "{error}");
        }
        assert!("".parse::<Networks>().expect("none").is_empty());
    }
}
