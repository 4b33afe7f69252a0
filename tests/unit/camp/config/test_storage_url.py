from __future__ import annotations

from pathlib import Path

import pytest

from camp.config.storage_url import folder_of, parse_options, parse_url


def test_folder_is_made_absolute_once() -> None:
    assert folder_of(parse_url("file:.camp/files")) == Path.cwd() / ".camp/files"
    assert parse_url("file:///srv/files") == "file:///srv/files"
    assert parse_url(parse_url("file:a")) == parse_url("file:a")


@pytest.mark.parametrize("url", ["s3://bucket/prefix", "az://container"])
def test_bucket_is_shared(url: str) -> None:
    assert parse_url(url) == url
    assert folder_of(url) is None


@pytest.mark.parametrize("url", ["/srv", "file://host/srv", "file:", "s3:///x", "http://x", "s3:"])
def test_what_names_no_place_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="does not name"):
        parse_url(url)


@pytest.mark.parametrize("options", ["region=x", "aws_region", "timeout=1"])
def test_option_that_no_provider_has_is_refused(options: str) -> None:
    with pytest.raises(ValueError, match="aws_NAME"):
        parse_options(options)
