"""Whether this release can live with the schema that the database has."""

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import Any

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
    """The history in the `migrations` package beside this one.

    Read from the sources: Alembic, which runs them, takes a fifth of a start to be imported.
    """
    import migrations

    folder = Path(str(migrations.__file__)).parent / "versions"
    names = [_assigned(path.read_text(encoding="utf-8")) for path in folder.glob("*.py")]
    revisions = frozenset(found["revision"] for found in names if "revision" in found)
    followed = {found.get("down_revision") for found in names}
    (head,) = revisions - followed
    return SchemaHistory(head=str(head), revisions=revisions)


def _assigned(source: str) -> dict[str, Any]:
    """The module's constants by name."""
    return {
        target.id: node.value.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
