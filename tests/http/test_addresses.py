"""The rule for addresses, by its properties."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onloop.http.addresses import why_not_public

V4 = st.ip_addresses(v=4)
V6 = st.ip_addresses(v=6)


def in_network(text):
    return st.ip_addresses(network=text)


PRIVATE = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
    "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
    "::1/128", "::/128", "fc00::/7", "fe80::/10", "ff00::/8", "2001:db8::/32",
]  # fmt: skip

# How an IPv4 address is put into an IPv6 one.
WRAPPINGS = {
    "mapped": lambda v4: int(ipaddress.ip_address("::ffff:0:0")) | v4,
    "compatible": lambda v4: v4,
    "NAT64": lambda v4: int(ipaddress.ip_address("64:ff9b::")) | v4,
    "local NAT64": lambda v4: int(ipaddress.ip_address("64:ff9b:1::")) | v4,
    "6to4": lambda v4: int(ipaddress.ip_address("2002::")) | v4 << 80,
    "Teredo": lambda v4: int(ipaddress.ip_address("2001::")) | v4 ^ 0xFFFFFFFF,
}


@given(st.one_of(V4, V6))
def test_what_python_calls_special_is_not_public(address):
    special = (
        address.is_private or address.is_loopback or address.is_link_local
        or address.is_multicast or address.is_unspecified or address.is_reserved
        or not address.is_global
    )  # fmt: skip
    if special:
        assert why_not_public(address)


@given(st.sampled_from(PRIVATE).flatmap(in_network))
def test_no_address_of_a_special_network_is_public(address):
    assert why_not_public(address)


@given(V4, st.sampled_from(sorted(WRAPPINGS)))
@example(ipaddress.ip_address("8.8.8.8"), "mapped")
def test_wrapped_addresses_never_are_whatever_is_in_them(address, wrapping):
    wrapped = ipaddress.IPv6Address(WRAPPINGS[wrapping](int(address)))
    assert why_not_public(wrapped)


@given(V6)
def test_only_global_unicast_is_public(address):
    if why_not_public(address) is None:
        assert int(address) >> 125 == 1


@given(V6, st.text("abc123", min_size=1, max_size=5))
def test_an_address_of_one_interface_never_is(address, scope):
    assert why_not_public(ipaddress.IPv6Address(f"{address}%{scope}"))


@given(st.one_of(V4, V6))
def test_what_is_allowed_is_and_nothing_beside_it(address):
    network = ipaddress.ip_network(address)
    assert why_not_public(address, [network]) is None
    neighbour = address + 1 if int(address) % 2**32 < 2**32 - 1 else address - 1
    assert why_not_public(neighbour, [network]) == why_not_public(neighbour)


@pytest.mark.parametrize(
    "text", ["1.1.1.1", "8.8.8.8", "93.184.216.34", "172.15.255.255", "172.32.0.0",
             "100.63.255.255", "100.128.0.0", "2606:4700:4700::1111", "2001:4860:4860::8888",
             "2a00:1450:4001:82a::200e"],
)  # fmt: skip
def test_public_addresses_are_public(text):
    assert why_not_public(ipaddress.ip_address(text)) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("169.254.169.254", "link-local, where clouds keep their metadata"),
        ("100.100.100.200", "shared by carriers and clouds"),
        ("168.63.129.16", "Azure's metadata service"),
        ("192.0.0.192", "reserved"),
        ("fd00:ec2::254", "private"),
        ("::ffff:169.254.169.254", "an IPv4 address in an IPv6 one"),
    ],
)
def test_the_metadata_of_clouds_are_not_public(text, why):
    assert why_not_public(ipaddress.ip_address(text)) == why
