"""The releases that the demo rolls through, built from one source tree.

1.0.0 is the tree as it is, 1.1.0 adds one expand migration, 1.2.0 never becomes ready.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from controlplane.adapters.process.bundle_build import build, copy_sources, schema_head
from controlplane.domain.errors import BundleError

NICKNAME = '''\
"""Users may be called by a nickname.

Revision ID: {revision}
Revises: {head}
"""

from __future__ import annotations

from alembic import op

revision = "{revision}"
down_revision = "{head}"
branch_labels = None
depends_on = None

phase = "expand"


def upgrade() -> None:
    # Nullable and without a default: a change of the catalogue only, whatever the table's size.
    op.execute("ALTER TABLE users ADD COLUMN nickname text")


def downgrade() -> None:
    op.execute("ALTER TABLE users DROP COLUMN nickname")
'''
NEVER_READY = """

async def _without_provider(self: Readiness, max_age_s: float = 0.0) -> Verdict:
    return Verdict(True, "cannot reach its model provider", time.monotonic())


Readiness.check = _without_provider
"""


def build_demo(root: Path, out: Path) -> dict[str, Path]:
    """Build the demo's bundles from the tree at `root` into `out`; where each version lies.

    Raises BundleError.
    """

    def build_one(version: str) -> Path:
        with tempfile.TemporaryDirectory(prefix="camp-demo-") as name:
            tree = copy_sources(root, Path(name) / "tree")
            RELEASES[version](tree)
            return build(tree, out, version=version)

    with ThreadPoolExecutor(len(RELEASES)) as pool:
        return dict(zip(RELEASES, pool.map(build_one, RELEASES), strict=True))


def as_it_is(tree: Path) -> None:
    """Nothing is changed."""


def _with_nickname(tree: Path) -> None:
    head = schema_head(tree)
    revision = f"{int(head) + 1:04d}"
    text = NICKNAME.format(revision=revision, head=head)
    (tree / "migrations" / "versions" / f"{revision}_add_nickname.py").write_text(text, "utf-8")


def _never_ready(tree: Path) -> None:
    _with_nickname(tree)
    file = tree / "camp" / "ops" / "readiness.py"
    text = file.read_text("utf-8")
    if "async def check(self, max_age_s" not in text:
        raise BundleError(f"{file} has no Readiness.check to replace; adapt the demo to it.")
    file.write_text(text + NEVER_READY, "utf-8")


# What is changed in a copy of the tree to make each release of it.
RELEASES: dict[str, Callable[[Path], None]] = {
    "1.0.0": as_it_is,
    "1.1.0": _with_nickname,
    "1.2.0": _never_ready,
}
