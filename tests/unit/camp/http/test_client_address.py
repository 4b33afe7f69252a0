from __future__ import annotations

import pytest

from camp.http.client_address import Peers


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
        (("198.51.100.1, nonsense",), "10.0.0.2"),
        (("",), "10.0.0.2"),
        ((), "10.0.0.2"),
    ],
)
def test_nearest_hop_that_is_no_trusted_proxy_counts(
    forwarded: tuple[str, ...], expected: str
) -> None:
    assert address("10.0.0.2", *forwarded, trusted=("10.0.0.0/8",)) == expected


def test_caller_over_a_unix_socket_has_no_address() -> None:
    assert address(None, "198.51.100.1", trusted=("10.0.0.0/8",)) == "unknown"
