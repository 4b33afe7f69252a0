"""What the authenticator remembers of those who were here."""

from __future__ import annotations

from camp.auth.authenticator import Authenticator
from camp.auth.identity import Identity, Principal
from camp.database.engine import uuid7
from tests.issuers import Issuer
from tests.service import settings


async def test_in_a_crowd_the_earliest_look_up_is_forgotten_first(issuer: Issuer) -> None:
    looked_up = []

    async def ensure(identity: Identity) -> Principal:
        looked_up.append(identity.subject)
        return Principal(uuid7(), identity.subject)

    known = Authenticator(settings(**issuer.variables), ensure, known_max=2)
    for subject in "ababcbca":
        await known.principal(issuer.bearer(subject)["authorization"])
    await known.close()
    assert looked_up == ["a", "b", "c", "a"]
