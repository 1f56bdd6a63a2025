"""Which addresses may be asked for what a stranger named: only those of the public internet.

By what is known to be good: IPv4 outside of IANA's special-purpose registry (RFC 6890), IPv6 within global unicast
(2000::/3, RFC 4291) outside of that registry. So everything that stands for another address is refused, whatever that
is: mapped and compatible IPv4, NAT64 (RFC 6052, RFC 8215), 6to4, Teredo.
"""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

_SPECIAL_V4: Final = tuple(
    IPv4Network(each)
    for each in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, where clouds have their metadata
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_GLOBAL_V6: Final = IPv6Network("2000::/3")
_SPECIAL_V6: Final = tuple(
    IPv6Network(each)
    for each in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, AMT, …
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",  # the 6bone of old
        "3fff::/20",  # documentation
    )
)


def is_public(address: str) -> bool:
    """Whether ``address`` is one of the public internet. Text that is no address is not; nor is one with a zone."""
    try:
        v4 = IPv4Address(address)
    except AddressValueError:
        pass
    else:
        return not any(v4 in network for network in _SPECIAL_V4)
    try:
        v6 = IPv6Address(address)
    except AddressValueError:
        return False
    return v6.scope_id is None and v6 in _GLOBAL_V6 and not any(v6 in network for network in _SPECIAL_V6)
