"""Whether this release can live with the schema that the database has."""

from collections.abc import Iterable
from pathlib import Path

import msgspec


class SchemaHistory(msgspec.Struct, frozen=True):
    """The revisions that this release was built with."""

    head: str
    revisions: frozenset[str]

    def fault(self, applied: Iterable[tuple[str, str]]) -> str | None:
        """Why (revision, phase) rows do not suit this release; None when they do.

        A newer expand or data step is no fault: it is made to be lived with. A newer contract
        step took something away that this release may still use.
        """
        rows = list(applied)
        if self.head not in {revision for revision, _ in rows}:
            return f"schema {self.head} is not applied: run camp migrate upgrade"
        beyond = [r for r, phase in rows if phase == "contract" and r not in self.revisions]
        if beyond:
            return f"schema {min(beyond)} took away what this release uses: run a newer release"
        return None

    def missing(self) -> str:
        """What to say when the database has no history at all."""
        return f"schema {self.head} is not applied, nor any other: run camp migrate upgrade"


def packaged_history() -> SchemaHistory:
    """The history in the `migrations` package beside this one; reads every script, so once."""
    from alembic.script import ScriptDirectory

    import migrations

    directory = ScriptDirectory(str(Path(str(migrations.__file__)).parent))
    revisions = frozenset(script.revision for script in directory.walk_revisions())
    return SchemaHistory(head=directory.get_current_head() or "", revisions=revisions)
