"""The file of secrets: what is read, and what is refused without repeating it."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.adapters.docker import env_file
from controlplane.domain.errors import Invalid


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    file = folder / "camp.env"
    file.write_text(text)
    file.chmod(mode)
    return file


def test_comments_and_export_are_understood_and_values_are_whole(tmp_path: Path) -> None:
    file = written(tmp_path, "# why\n\nexport A=1\nURL=postgresql://u:p@h/db?a=b\n")
    assert env_file.read(file) == {"A": "1", "URL": "postgresql://u:p@h/db?a=b"}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o700, 0o644])
def test_wider_modes_are_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    with pytest.raises(Invalid, match="chmod 0600"):
        env_file.read(written(tmp_path, "A=1", mode))


@pytest.mark.parametrize("line", ["s3cret", "1A=s3cret", "A B=s3cret"])
def test_wrong_line_is_named_but_not_repeated(tmp_path: Path, line: str) -> None:
    with pytest.raises(Invalid, match="line 2") as caught:
        env_file.read(written(tmp_path, f"A=1\n{line}\n"))
    assert "s3cret" not in caught.value.sentence


def test_missing_file_says_what_belongs_into_it(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="There is no file"):
        env_file.read(tmp_path / "none")
