"""Which IP addresses are public. Pure; the lists follow IANA's special-purpose registries.

Python's own `is_global` is only asked second: its answer for a few ranges depends on the Python release.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NOT_PUBLIC_4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # "this" network; Linux dials itself there
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; clouds keep metadata servers in it
        "127.0.0.0/8",
        "168.63.129.16/32",  # looks public, is the host of every Azure machine
        "169.254.0.0/16",  # link-local, and the metadata server of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # relays to 6to4
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
)
#: nothing outside it is public unicast: so NAT64, v4-compatible, unique-local, link-local and multicast are out
_PUBLIC_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo, ORCHID, benchmarking: protocols, not hosts
        "2001:db8::/32",
        "2002::/16",  # 6to4 carries any IPv4 address inside
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)


def unwrapped(text: str) -> Address:
    """The address that `text` stands for; an IPv4 one inside ::ffff:0:0/96 comes out of it. ValueError if none."""
    address = ip_address(text)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_public(address: Address) -> bool:
    """Whether the address is globally routable unicast, and not a cloud's metadata server."""
    if isinstance(address, IPv4Address):
        listed = any(address in network for network in _NOT_PUBLIC_4)
    else:
        listed = address not in _PUBLIC_6 or any(address in network for network in _NOT_PUBLIC_6)
    return not listed and address.is_global and not address.is_multicast


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """CIDR texts as networks; ValueError names a text that is none."""
    return tuple(ip_network(text, strict=False) for text in texts)


def is_inside(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether an address lies in one of the networks."""
    return any(address.version == network.version and address in network for network in allowed)
