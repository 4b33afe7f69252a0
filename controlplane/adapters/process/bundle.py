"""A release for hosts without Docker: one zip of a wheel and a manifest, named by its sha256."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import msgspec

from controlplane.adapters.host.files import sync_folder
from controlplane.adapters.process.seal import seal
from controlplane.domain.errors import BundleError
from controlplane.domain.model import Release

MANIFEST = "manifest.json"
CHUNK_BYTES = 1 << 20
# Politely: the host's instances serve meanwhile, and nobody waits for the last tenth of a second.
COMPILE = "import compileall, os; os.nice(10); compileall.main()"
COMPILE_DEADLINE_S = 120.0
MODE_TYPE_MASK = 0o170000
MODE_SYMLINK = 0o120000


class BundleMissing(BundleError):
    """No file lies where the release says; it may still arrive."""

    code = "bundle_missing"
    retry = True


class DigestMismatch(BundleError):
    """The file is not the one that was announced; fetching it again gives the same one."""

    code = "bundle_digest"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle says of itself; `created_at` in seconds since 1970, as the tree gives it."""

    version: str
    revision: str
    schema_head: str
    schema_min: str
    config_hash: str = ""
    created_at: int = 0


def path_of(image: str) -> Path:
    """Where a release's image lies: an absolute path or a file:// URL. Raises BundleError."""
    parts = urlsplit(image)
    path = Path(unquote(parts.path)) if parts.scheme == "file" else Path(image)
    if parts.netloc or not path.is_absolute():
        raise BundleError(
            f"{image} is neither an absolute path nor a file:// URL of this host;"
            " `camp release add PATH` takes a bundle that `camp release build` made."
        )
    return path


def read(path: Path) -> Release:
    """What the bundle is, from its manifest and its bytes. Raises BundleError."""
    with _opened(path) as archive:
        manifest = _manifest(path, archive)
        _wheel(path, archive)
    return Release(
        version=manifest.version,
        digest=digest_of(path),
        image=str(path.resolve()),
        revision=manifest.revision,
        schema_head=manifest.schema_head,
        schema_min=manifest.schema_min,
        config_hash=manifest.config_hash,
    )


def digest_of(path: Path) -> str:
    """`sha256:<hex>` of the file. Raises BundleError."""
    with _found(path), path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def unpack(path: Path, digest: str, into: Path) -> None:
    """Make `into` an importable folder of exactly these bytes, or raise BundleError.

    The digest is checked on a private copy before anything is unpacked. Modules are compiled
    here, once: a cold start takes 1.8 s without bytecode and 0.6 s with it. `into` appears in
    one rename, durable and whole.
    """
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into.parent, prefix=".unpack-") as name:
        work = Path(name)
        copy, tree = work / "bundle.zip", work / "tree"
        found = _copy(path, copy)
        if found != digest:
            raise DigestMismatch(
                f"The bundle {path} has the digest {found}, but {digest} was announced; restore"
                " the original file, or add the new one as a release of its own."
            )
        tree.mkdir()
        _extract(path, copy, tree)
        _compile(tree, into)
        seal(tree)
        _sync(tree)
        tree.rename(into)
    sync_folder(into.parent)


def write(wheel: Path, manifest: Manifest, out: Path) -> None:
    """Put a wheel and its manifest into a bundle: stored and undated, so equal in, equal out."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_entry(MANIFEST), msgspec.json.format(msgspec.json.encode(manifest)))
        archive.writestr(_entry(wheel.name), wheel.read_bytes())


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)  # dated 1980-01-01
    entry.create_system = 3
    entry.external_attr = 0o644 << 16
    return entry


@contextmanager
def _found(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise BundleMissing(
            f"There is no bundle at {path}; build one with `camp release build`."
        ) from error
    except (OSError, zipfile.BadZipFile) as error:
        raise BundleError(
            f"{path} cannot be read as a bundle ({error});"
            " build it again with `camp release build`."
        ) from error


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    with _found(path), zipfile.ZipFile(path) as archive:
        yield archive


def _manifest(path: Path, archive: zipfile.ZipFile) -> Manifest:
    try:
        return msgspec.json.decode(archive.read(MANIFEST), type=Manifest)
    except KeyError as error:
        raise BundleError(
            f"{path} is a zip without a {MANIFEST}, so it is no release bundle;"
            " build one with `camp release build`."
        ) from error
    except msgspec.MsgspecError as error:
        raise BundleError(
            f"The {MANIFEST} in {path} is not usable: {error}; build the bundle again with"
            " `camp release build`."
        ) from error


def _wheel(path: Path, archive: zipfile.ZipFile) -> str:
    wheels = [name for name in archive.namelist() if name.endswith(".whl")]
    if len(wheels) != 1:
        raise BundleError(
            f"{path} holds {len(wheels)} wheels instead of one;"
            " build it again with `camp release build`."
        )
    return wheels[0]


def _copy(path: Path, to: Path) -> str:
    """Copy the bundle, so that what was verified is what is unpacked; its digest."""
    found = hashlib.sha256()
    with _found(path), path.open("rb") as source, to.open("wb") as target:
        while chunk := source.read(CHUNK_BYTES):
            found.update(chunk)
            target.write(chunk)
    return f"sha256:{found.hexdigest()}"


def _extract(path: Path, copy: Path, tree: Path) -> None:
    with _found(path), zipfile.ZipFile(copy) as archive:
        manifest = _manifest(path, archive)
        with archive.open(_wheel(path, archive)) as file, zipfile.ZipFile(file) as wheel:
            for entry in wheel.infolist():
                _refuse_outside(path, entry)
            wheel.extractall(tree)
    (tree / MANIFEST).write_bytes(msgspec.json.encode(manifest))


def _refuse_outside(path: Path, entry: zipfile.ZipInfo) -> None:
    name = PurePosixPath(entry.filename)
    is_link = (entry.external_attr >> 16) & MODE_TYPE_MASK == MODE_SYMLINK
    if name.is_absolute() or ".." in name.parts or "\\" in entry.filename or is_link:
        raise BundleError(
            f"{path} wants to write {entry.filename!r} outside of its folder and was not"
            " unpacked; use a bundle that `camp release build` made."
        )


def _compile(tree: Path, into: Path) -> None:
    """Compile in a process of its own: an agent must renew its lease meanwhile."""
    # Modules that cannot be compiled fail when they are imported; that is the release's fault.
    subprocess.run(
        [
            *(sys.executable, "-I", "-c", COMPILE, "-q", "-q"),
            *("--invalidation-mode", "unchecked-hash"),
            *("-s", str(tree), "-p", str(into), str(tree)),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=COMPILE_DEADLINE_S,
        check=False,
    )


def _sync(tree: Path) -> None:
    for folder, _, names in os.walk(tree):
        for name in names:
            handle = os.open(Path(folder) / name, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        sync_folder(Path(folder))


def discard(folder: Path) -> None:
    """Remove an unpacked bundle: out of sight first, so that half of it is never used."""
    grave = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".discard-"))
    folder.rename(grave / folder.name)
    shutil.rmtree(grave)
