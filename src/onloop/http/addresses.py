"""Which addresses are public: the rule for targets that users name.

Written out in place of `ipaddress`'s `is_global`, which differs between patch releases of
Python and lets wrapped addresses through. What is not surely public is not.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# IANA's special-purpose registry, multicast, and the rest that is no single host's.
_NOT_PUBLIC = {
    "0.0.0.0/8": "unspecified",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "shared by carriers and clouds",
    "127.0.0.0/8": "loopback",
    "168.63.129.16/32": "Azure's metadata service",
    "169.254.0.0/16": "link-local, where clouds keep their metadata",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "reserved",
    "192.0.2.0/24": "documentation",
    "192.31.196.0/24": "reserved",
    "192.52.193.0/24": "reserved",
    "192.88.99.0/24": "6to4 relays",
    "192.168.0.0/16": "private",
    "192.175.48.0/24": "reserved",
    "198.18.0.0/15": "benchmarks",
    "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
    "::/128": "unspecified",
    "::1/128": "loopback",
    "::ffff:0:0/96": "an IPv4 address in an IPv6 one",
    "::/96": "an IPv4 address in an IPv6 one",
    "64:ff9b::/96": "an IPv4 address behind NAT64",
    "64:ff9b:1::/48": "an IPv4 address behind NAT64",
    "2001::/32": "an IPv4 address behind Teredo",
    "2001::/23": "reserved",
    "2001:db8::/32": "documentation",
    "2002::/16": "an IPv4 address behind 6to4",
    "2620:4f:8000::/48": "reserved",
    "3fff::/20": "documentation",
    "fc00::/7": "private",
    "fe80::/10": "link-local",
    "fec0::/10": "site-local",
    "ff00::/8": "multicast",
}
_RULES = [(ipaddress.ip_network(network), why) for network, why in _NOT_PUBLIC.items()]

# The only part of IPv6 that is given out as public addresses.
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")


def why_not_public(address: Address, allowed: Iterable[Network] = ()) -> str | None:
    """Return what `address` is in place of a public address; None if it is one.

    `allowed`: networks that count as public nevertheless.
    """
    if any(address in network for network in allowed):
        return None
    if getattr(address, "scope_id", None):
        return "of one interface only"
    for network, why in _RULES:
        if address in network:
            return why
    if address.version == 6 and address not in _GLOBAL_UNICAST:
        return "reserved"
    return None
