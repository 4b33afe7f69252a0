"""`camp release`: what there is to deploy."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from controlplane.cli.common import Connection, connected, json_option, print_json, run, table
from controlplane.domain.errors import BundleError
from controlplane.domain.model import Release
from controlplane.wire import ReleaseAdded, ReleaseView


@click.group()
def release() -> None:
    """Releases: immutable, known by version and digest.

    Example: camp release build && camp release add dist/camp-1.0.0.zip
    """


@release.command("build")
@click.option(
    "--tree", default=".", show_default=True, type=click.Path(path_type=Path), help="A checkout."
)
@click.option("--version", help="Build under this version instead of the tree's.")
@click.option("--out", default="dist", show_default=True, type=click.Path(path_type=Path))
@json_option
def build(tree: Path, version: str | None, out: Path, as_json: bool) -> None:
    """Build a bundle that agents can run as a process.

    Example: camp release build --version 1.1.0 --out dist
    """
    from controlplane.adapters.process.bundle import read
    from controlplane.adapters.process.bundle_build import build as build_bundle

    path = build_bundle(tree, out, version=version)
    built = read(path)
    if as_json:
        print_json({"path": str(path), "release": built})
        return
    click.echo(f"{path}  {built.version}  {built.digest}")


@release.command("add")
@click.argument("what", metavar="PATH|IMAGE")
@click.option("--expect-digest", help="Refuse it unless it has this digest.")
@click.option(
    "--platform", default="linux/amd64", show_default=True, help="image: what the hosts are."
)
@click.option(
    "--insecure-registry", multiple=True, metavar="HOST", help="image: ask this registry over HTTP."
)
@connected
def add(
    what: str,
    *,
    expect_digest: str | None,
    platform: str,
    insecure_registry: tuple[str, ...],
    connection: Connection,
) -> None:
    """Make a bundle or an image known, by the digest that it has now.

    The hosts must be able to read a bundle at this PATH, or to pull the IMAGE, which is
    HOST/NAME:TAG or HOST/NAME@DIGEST. Credentials are those of `docker login`.

    Example: camp release add registry.example/camp:1.1.0 --expect-digest sha256:4f2a...
    """
    found = _described(what, platform, frozenset(insecure_registry))
    if expect_digest is not None and expect_digest != found.digest:
        raise BundleError(
            f"{what} has the digest {found.digest}, not {expect_digest}: these are other bytes. "
            "Fetch the right ones, or ask who built them."
        )
    answer = run(_add(connection, found))
    verb = "added" if answer.created else "known already"
    connection.show(answer, lambda: [f"{found.version}  {found.digest}  {verb}"])


def _described(what: str, platform: str, insecure: frozenset[str]) -> Release:
    """The release that lies at a path or is published under an image's name."""
    if Path(what).exists() or what.endswith(".zip") or what.startswith(("/", ".")):
        from controlplane.adapters.process.bundle import read

        return read(Path(what))
    from controlplane.adapters.registry.oci import OciRegistry, stored_credentials
    from controlplane.domain.image import release_of

    async def resolved() -> Release:
        async with OciRegistry(stored_credentials, platform=platform, insecure=insecure) as found:
            return release_of(await found.resolve(what))

    return run(resolved())


@release.command("list")
@connected
def list_(connection: Connection) -> None:
    """List the releases, newest first.

    Example: camp release list
    """

    async def work() -> list[ReleaseView]:
        async with connection.client() as client:
            return await client.releases()

    found = run(work())
    head = ("VERSION", "DIGEST", "SCHEMA", "REVISION", "ADDED BY")
    rows = [
        (
            r.release.version,
            r.release.digest[:19],
            r.release.schema_head,
            r.release.revision[:12],
            r.created_by,
        )
        for r in found
    ]
    connection.show(found, lambda: table(head, rows))


@release.command("show")
@click.argument("version")
@connected
def show(version: str, connection: Connection) -> None:
    """Show one release.

    Example: camp release show 1.1.0
    """

    async def work() -> ReleaseView:
        async with connection.client() as client:
            return await client.release(version)

    found = run(work())
    connection.show(found, lambda: _card(found))


async def _add(connection: Connection, found: Release) -> ReleaseAdded:
    async with connection.client() as client:
        return await client.add_release(found)


def _card(found: ReleaseView) -> list[str]:
    r = found.release
    facts = [
        ("version", r.version),
        ("digest", r.digest),
        ("image", r.image),
        ("revision", r.revision or "-"),
        ("schema", f"{r.schema_min} to {r.schema_head}"),
        ("config", r.config_hash or "-"),
        ("added by", found.created_by),
    ]
    return [f"{name:<10}{value}" for name, value in facts]
