from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from controlplane.adapters.process import bundle
from controlplane.adapters.process.bundle import BundleMissing, DigestMismatch
from controlplane.domain.errors import BundleError
from controlplane.domain.model import Release
from tests.standin import bundle_of, stand_in


def zip_of(file: Path, **entries: str) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in entries.items():
            archive.writestr(name.replace("_json", ".json"), text)
    return file


def test_bundle_is_read_as_the_release_that_it_is(tmp_path: Path) -> None:
    release = stand_in(tmp_path, "1.4.0")
    assert release == Release(
        version="1.4.0",
        digest=bundle.digest_of(tmp_path / "camp-1.4.0.zip"),
        image=str(tmp_path / "camp-1.4.0.zip"),
        revision="abc",
        schema_head="0002",
        schema_min="0001",
        config_hash="cfg",
    )


def test_equal_content_gives_an_equal_digest(tmp_path: Path) -> None:
    assert stand_in(tmp_path / "a").digest == stand_in(tmp_path / "b").digest
    assert stand_in(tmp_path / "a").digest != stand_in(tmp_path / "c", ready=False).digest


def test_missing_bundle_may_still_arrive(tmp_path: Path) -> None:
    with pytest.raises(BundleMissing, match="There is no bundle at") as caught:
        bundle.read(tmp_path / "none.zip")
    assert caught.value.retry


def test_file_that_is_no_zip_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "camp.zip"
    file.write_text("<html>not found</html>")
    with pytest.raises(BundleError, match="cannot be read as a bundle"):
        bundle.read(file)


def test_folder_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be read as a bundle"):
        bundle.read(tmp_path)


def test_zip_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"a zip without a manifest\.json"):
        bundle.read(zip_of(tmp_path / "camp.zip", readme="hello"))


@pytest.mark.parametrize("text", ["{", '{"version": "1.0.0"}', '{"version": 1}'])
def test_manifest_that_is_damaged_or_lacks_a_field_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BundleError, match="is not usable"):
        bundle.read(zip_of(tmp_path / "camp.zip", manifest_json=text))


def test_missing_field_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="`revision`"):
        bundle.read(zip_of(tmp_path / "camp.zip", manifest_json='{"version": "1.0.0"}'))


def test_bundle_without_a_wheel_is_refused(tmp_path: Path) -> None:
    manifest = '{"version": "1", "revision": "", "schema_head": "1", "schema_min": "1"}'
    with pytest.raises(BundleError, match="holds 0 wheels"):
        bundle.read(zip_of(tmp_path / "camp.zip", manifest_json=manifest))


@pytest.mark.parametrize("image", ["/srv/camp 1.zip", "file:///srv/camp%201.zip"])
def test_image_is_a_path_or_a_file_url(image: str) -> None:
    assert bundle.path_of(image) == Path("/srv/camp 1.zip")


@pytest.mark.parametrize("image", ["camp.zip", "file://other-host/camp.zip", "oci://camp:1"])
def test_image_elsewhere_is_refused(image: str) -> None:
    with pytest.raises(BundleError, match="neither an absolute path nor"):
        bundle.path_of(image)


def test_unpacked_bundle_is_importable_and_compiled(tmp_path: Path) -> None:
    release = stand_in(tmp_path)
    into = tmp_path / "images" / "1"
    bundle.unpack(Path(release.image), release.digest, into)
    assert (into / "camp" / "__main__.py").is_file()
    assert list(into.glob("camp/__pycache__/__main__.*.pyc"))
    assert [f.name for f in into.parent.iterdir()] == ["1"]


def test_other_bytes_than_announced_are_not_unpacked(tmp_path: Path) -> None:
    release = stand_in(tmp_path)
    with Path(release.image).open("ab") as file:
        file.write(b"!")
    with pytest.raises(DigestMismatch, match="was announced") as caught:
        bundle.unpack(Path(release.image), release.digest, tmp_path / "images" / "1")
    assert not caught.value.retry
    assert list((tmp_path / "images").iterdir()) == []


@pytest.mark.parametrize("name", ["../evil.py", "/evil.py", "camp/../../evil.py", "..\\evil.py"])
def test_wheel_that_writes_outside_of_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    release = bundle_of(tmp_path / "b", "1.0.0", {"camp/__init__.py": "", name: "evil"})
    with pytest.raises(BundleError, match="outside of its folder"):
        bundle.unpack(Path(release.image), release.digest, tmp_path / "images" / "1")
    assert list((tmp_path / "images").iterdir()) == []


def test_discarded_bundle_leaves_nothing(tmp_path: Path) -> None:
    release = stand_in(tmp_path / "b")
    into = tmp_path / "images" / "1"
    bundle.unpack(Path(release.image), release.digest, into)
    bundle.discard(into)
    assert list(into.parent.iterdir()) == [], "nothing half removed may look like an image"
