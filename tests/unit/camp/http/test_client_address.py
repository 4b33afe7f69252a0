from __future__ import annotations

import pytest

from camp.http.client_address import Peers, who_pays


def address(peer: str | None, *forwarded: str, trusted: tuple[str, ...] = ()) -> str:
    scope = {
        "client": None if peer is None else (peer, 1),
        "headers": [(b"x-forwarded-for", value.encode()) for value in forwarded],
    }
    return Peers(trusted).address(scope)


def test_header_of_a_stranger_is_not_believed() -> None:
    assert address("203.0.113.9", "198.51.100.1") == "203.0.113.9"
    assert address("203.0.113.9", "198.51.100.1", trusted=("10.0.0.0/8",)) == "203.0.113.9"


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        (("198.51.100.1",), "198.51.100.1"),
        (("192.0.2.66, 198.51.100.1",), "198.51.100.1"),  # the first hop is the client's own word
        (("192.0.2.66, 198.51.100.1, 10.0.0.9",), "198.51.100.1"),
        (("192.0.2.66", "198.51.100.1, 10.0.0.9"), "198.51.100.1"),  # two lines are one list
        (("10.0.0.3, 10.0.0.9",), "10.0.0.3"),
        (("2001:db8::1",), "2001:db8::1"),
        # As Azure's gateways, HAProxy and dual-stack listeners write them.
        (("198.51.100.1:51234",), "198.51.100.1"),
        (("[2001:db8::1]:51234",), "2001:db8::1"),
        (("[2001:db8::1]",), "2001:db8::1"),
        (("::ffff:198.51.100.1",), "198.51.100.1"),
        (("192.0.2.66, 198.51.100.1:80, 10.0.0.9:443",), "198.51.100.1"),
        (("192.0.2.66, 198.51.100.1, ::ffff:10.0.0.9",), "198.51.100.1"),
        (('"[2001:db8::1]:443"',), "2001:db8::1"),
        (("198.51.100.1:port",), "10.0.0.2"),
        (("fe80::1%eth0, 198.51.100.1",), "198.51.100.1"),
        (("198.51.100.1, nonsense",), "10.0.0.2"),
        (("",), "10.0.0.2"),
        ((), "10.0.0.2"),
    ],
)
def test_nearest_hop_that_is_no_trusted_proxy_counts(
    forwarded: tuple[str, ...], expected: str
) -> None:
    assert address("10.0.0.2", *forwarded, trusted=("10.0.0.0/8",)) == expected


def test_trusted_proxy_is_known_by_its_mapped_address_too() -> None:
    mapped = address("::ffff:10.0.0.2", "198.51.100.1", trusted=("10.0.0.0/8",))
    assert mapped == "198.51.100.1"
    assert address("::ffff:203.0.113.9") == "203.0.113.9"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("203.0.113.9", "203.0.113.10", False),
        ("unknown", "unknown", True),
    ],
)
def test_who_has_a_whole_network_of_addresses_counts_as_one(
    one: str, other: str, same: bool
) -> None:
    assert (who_pays(one) == who_pays(other)) is same


def test_caller_over_a_unix_socket_has_no_address() -> None:
    assert address(None, "198.51.100.1", trusted=("10.0.0.0/8",)) == "unknown"
