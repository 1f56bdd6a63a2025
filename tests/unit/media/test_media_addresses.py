"""Addresses of our own networks are refused in every form in which they can be written."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.media.addresses import is_public

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.0.1",
    "172.32.0.1",
    "192.167.1.1",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001:80b::200e",
    "2001:4860:4860::8888",
    "2400::1",
]
OURS = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.170",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "2a00:1450:4001:80b::200e%1",
]
NONE = [
    "",
    "localhost",
    "127.1",
    "2130706433",
    "0x7f.1",
    "0177.0.0.1",
    "1.1.1.1.",
    " 1.1.1.1",
    "[::1]",
    "1.1.1.1/32",
    "١.١.١.١",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", [*OURS, *NONE])
def test_not_public(address: str) -> None:
    """Neither what is special by IANA's registries, nor what stands for another address, nor what is no address."""
    assert not is_public(address)


v4 = st.ip_addresses(v=4)
v6 = st.ip_addresses(v=6)


@given(v4)
def test_no_form_of_an_ipv4_address_passes_as_ipv6(address: ipaddress.IPv4Address) -> None:
    """Mapped, compatible, NAT64, 6to4, Teredo: whatever is inside."""
    inner = int(address)
    wholes = [
        inner,
        0xFFFF << 32 | inner,
        0xFFFF << 48 | inner,  # ::ffff:0:a.b.c.d, SIIT
        0x64FF9B << 96 | inner,
        0x64FF9B0001 << 80 | inner,
        0x2002 << 112 | inner << 80,
        0x20010000 << 96 | inner ^ 0xFFFFFFFF,
    ]
    for whole in wholes:
        form = ipaddress.IPv6Address(whole)
        assert not is_public(str(form))
        assert not is_public(form.exploded)


@given(v4 | v6)
def test_never_more_than_the_standard_library_calls_global(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """Another party's tables."""
    if is_public(str(address)):
        assert address.is_global
        assert not address.is_multicast
        assert not address.is_reserved


@given(st.text(max_size=40))
def test_text_is_no_address(text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        assert not is_public(text)
