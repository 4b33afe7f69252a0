"""What every store forgets in time, and what stays in the one in PostgreSQL."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec
import pytest
from sqlalchemy import select, text

from controlplane.adapters.postgres import event_log, tables
from controlplane.adapters.postgres.ledger import PostgresLedger
from controlplane.adapters.postgres.sweep import LATEST_ROLLOUTS
from controlplane.domain.errors import Conflict, Fenced
from controlplane.domain.follow import Followed
from controlplane.domain.look import SILENT_AFTER_S, look
from controlplane.domain.model import State, enter
from controlplane.domain.records import SWEPT_ROWS, Changes
from controlplane.ports.ledger import Start
from tests.follows import a_rule, a_tag
from tests.stores import (
    LEADER,
    NAME,
    Ground,
    PostgresGround,
    host,
    job,
    lead,
    release,
    report,
    rollout,
    with_job,
)

LONG_AGO = text("clock_timestamp() - interval '2 years'")


async def test_only_the_leader_sweeps(ground: Ground) -> None:
    await lead(ground.store)
    for epoch, holder in ((0, LEADER), (2, LEADER), (1, "leader-2")):
        with pytest.raises(Fenced):
            await ground.store.sweep(epoch, holder)


async def test_what_is_active_is_not_swept(ground: Ground) -> None:
    await with_job(ground)

    assert await ground.store.sweep(1, LEADER) == 0

    seen = await ground.store.observe()
    assert (seen.rollout, seen.jobs) == (rollout(), (job(),))


async def test_host_seen_at_a_moment_to_come_is_silent_until_it_speaks(ground: Ground) -> None:
    """The database's clock went back by an hour: a dead host would be alive when it is there."""
    store = ground.store
    await lead(store)
    await store.report(report())
    await ground.set_clock_back("a", 3600.0)
    assert look(await store.observe(), ()).hosts[0].silent

    await store.sweep(1, LEADER)

    seen = await store.observe()
    assert 0.0 < host(seen, "a").seen_at <= seen.now - SILENT_AFTER_S
    await store.report(report())
    assert not look(await store.observe(), ()).hosts[0].silent


async def ended(ground: PostgresGround, *names: str, version: str = "1.1.0") -> None:
    """Rollouts that succeeded two years ago, each with a run and a command."""
    for name in names:
        done = msgspec.to_builtins(enter(rollout(name), State.SUCCEEDED, 50.0))
        done["target"] = msgspec.to_builtins(release(version))
        command = {"idempotency_key": name, "rollout": name, "kind": "start", "actor": "alice"}
        await ground.execute(
            tables.rollouts.insert().values(
                id=name, environment=NAME, rollout=done, finished_at=LONG_AGO
            ),
            tables.jobs.insert().values(
                id=f"{name}/1", environment=NAME, job=msgspec.to_builtins(job(f"{name}/1"))
            ),
            tables.commands.insert().values(**command, request_hash="h", outcome=done),
        )


async def keep(ground: PostgresGround, count: int = LATEST_ROLLOUTS) -> None:
    """So many rollouts that ended just now."""
    done = msgspec.to_builtins(enter(rollout(), State.SUCCEEDED, 50.0))
    just_now = {"environment": NAME, "rollout": done, "finished_at": text("clock_timestamp()")}
    insert = tables.rollouts.insert()
    await ground.execute(*(insert.values(id=f"n-{n}", **just_now) for n in range(count)))


async def names(ground: PostgresGround, column: Any) -> set[str]:
    async with ground.engine.connect() as connection:
        return set(await connection.scalars(select(column)))


@pytest.fixture
async def emptied(postgres_ground: PostgresGround) -> PostgresGround:
    await postgres_ground.execute(tables.commands.delete(), tables.releases.delete())
    await lead(postgres_ground.store)
    return postgres_ground


async def test_old_rollouts_go_with_their_runs_and_who_asked_for_them_stays(
    emptied: PostgresGround,
) -> None:
    await ended(emptied, "r-1", "r-2")
    await keep(emptied)

    assert await emptied.store.sweep(1, LEADER) == 2

    assert names_like(await names(emptied, tables.rollouts.c.id), "r-") == set()
    assert await names(emptied, tables.jobs.c.id) == set()
    async with emptied.engine.connect() as connection:
        rows = (await connection.execute(select(tables.commands))).all()
    assert {(row.rollout, row.actor, row.outcome) for row in rows} == {
        ("r-1", "alice", None),
        ("r-2", "alice", None),
    }


def names_like(found: set[str], prefix: str) -> set[str]:
    return {name for name in found if name.startswith(prefix)}


async def test_no_rollout_goes_while_it_would_take_its_commands_along(
    emptied: PostgresGround,
) -> None:
    """An agent of this release leads before the database was migrated."""
    await ended(emptied, "r-1")
    await keep(emptied)
    history = tables.schema_history
    await emptied.execute(history.delete().where(history.c.revision == "0015"))
    try:
        assert await emptied.store.sweep(1, LEADER) == 0
    finally:
        await emptied.execute(history.insert().values(revision="0015", phase="expand"))


async def test_latest_rollouts_stay_however_old(emptied: PostgresGround) -> None:
    await ended(emptied, "r-1")
    await keep(emptied, LATEST_ROLLOUTS - 1)
    assert await emptied.store.sweep(1, LEADER) == 0


async def test_rollout_to_what_a_followed_tag_names_stays(emptied: PostgresGround) -> None:
    """A rule starts a version once; forgetting that it was tried would start it again."""
    await ended(emptied, "r-1", version="2.0.0")
    await keep(emptied)
    followed = msgspec.to_builtins(Followed(tags=(a_tag("2.0.0"),)))
    rule = msgspec.to_builtins(a_rule())
    await emptied.execute(
        tables.follows.insert().values(environment=NAME, rule=rule, followed=followed)
    )
    assert await emptied.store.sweep(1, LEADER) == 0


async def test_key_of_a_forgotten_rollout_is_refused_with_the_remedy(
    emptied: PostgresGround,
) -> None:
    ledger = PostgresLedger(emptied.engine)
    wish = Start(NAME, rollout().kind, "1.0.0", "alice", key="k")
    await ended(emptied, "r-1")
    await keep(emptied)
    await emptied.store.sweep(1, LEADER)
    known = msgspec.json.encode(wish)
    await emptied.execute(
        tables.commands.update().values(idempotency_key="k", request_hash=sha256(known).hexdigest())
    )
    with pytest.raises(Conflict, match="take a new key"):
        await ledger.start(wish)


async def test_release_that_nothing_refers_to_is_forgotten_and_that_is_told(
    emptied: PostgresGround,
) -> None:
    await ended(emptied, "r-1", version="1.5.0")
    for version in ("0.9.0", "1.0.0", "1.5.0", "1.6.0"):
        known = release(version)
        made = {"version": version, "digest": known.digest, "created_by": "alice"}
        at = text("clock_timestamp()") if version == "1.6.0" else LONG_AGO
        values = made | {"release": msgspec.to_builtins(known), "created_at": at}
        await emptied.execute(tables.releases.insert().values(values))

    assert await emptied.store.sweep(1, LEADER) == 1

    # 1.0.0 and 1.5.0 are where that rollout went from and to, 1.6.0 is new.
    assert await names(emptied, tables.releases.c.version) == {"1.0.0", "1.5.0", "1.6.0"}
    assert await emptied.events() == [
        ("release", "release 0.9.0, made known by alice, is forgotten")
    ]


async def test_old_events_go_in_batches_and_what_somebody_did_stays(
    emptied: PostgresGround,
) -> None:
    async with emptied.engine.begin() as connection:
        old = [("action", f"step {n}") for n in range(SWEPT_ROWS + 1)]
        await event_log.append(connection, NAME, old)
        done = [("command", "alice asked for abort")]
        await event_log.append(connection, NAME, done, data={"actor": "alice"})
        await connection.execute(tables.events.update().values(at=LONG_AGO))
        await event_log.append(connection, NAME, [("action", "just now")])

    swept = [await emptied.store.sweep(1, LEADER) for _ in range(3)]

    assert swept == [SWEPT_ROWS, 1, 0]
    assert await emptied.events() == [("command", "alice asked for abort"), ("action", "just now")]


async def test_policy_says_how_long(emptied: PostgresGround) -> None:
    told = Changes(events=(("action", "a minute ago"),))
    await emptied.store.commit(1, LEADER, await emptied.store.observe(), told)
    await emptied.execute(
        tables.events.update().values(at=text("clock_timestamp() - interval '1 minute'"))
    )
    assert await emptied.store.sweep(1, LEADER) == 0
    short = text("""UPDATE environments SET policy = policy || '{"keep_events_s": 30}'""")
    await emptied.execute(short)
    assert await emptied.store.sweep(1, LEADER) == 1
