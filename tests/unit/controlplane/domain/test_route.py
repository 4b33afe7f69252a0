"""Routes: what may be written, and which of them take each other's requests."""

from __future__ import annotations

import pytest

from controlplane.domain.errors import Invalid
from controlplane.domain.policy import draft
from controlplane.domain.route import Route, collide

BASE = {"hosts": ["a"], "edges": ["http://e"]}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Route(), Route()),
        (Route(), Route(host="a.test", path="/x")),
        (Route(host="a.test"), Route(host="a.test", path="/x")),
        (Route(path="/x/y"), Route(path="/x")),
    ],
)
def test_routes_that_could_catch_the_same_request_collide(one: Route, other: Route) -> None:
    assert collide(one, other)
    assert collide(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Route(), Route(entry_point="internal")),
        (Route(host="a.test"), Route(host="b.test")),
        (Route(path="/x"), Route(path="/xy")),
        (Route(path="/x"), Route(path="/y")),
    ],
)
def test_routes_apart_do_not(one: Route, other: Route) -> None:
    assert not collide(one, other)
    assert not collide(other, one)


def test_route_is_read_from_the_environments_table() -> None:
    made = draft("x", BASE | {"route": {"host": "Camp.Test", "path": "/x"}})
    assert made.route == Route(host="camp.test", path="/x")
    assert draft("x", BASE).route == Route()


@pytest.mark.parametrize(
    ("route", "said"),
    [
        ({"host": "a`b"}, "route.host: 'a`b' does not do; write a host name"),
        ({"path": "x"}, "route.path"),
        ({"path": "/x/"}, "without a slash at its end"),
        ({"entry_point": ""}, "route.entry_point"),
        ({"root": 1}, "route.root"),
        ({"paths": "/"}, "route.paths: there is no such field; did you mean path?"),
        ("web", "route: must be a table"),
    ],
)
def test_wrong_route_is_refused_with_the_remedy(route: object, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        draft("x", BASE | {"route": route})
    assert said in refused.value.sentence
