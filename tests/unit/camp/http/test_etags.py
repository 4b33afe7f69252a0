from __future__ import annotations

from uuid import UUID

import pytest

from camp.errors import PreconditionFailed
from camp.http.etags import etag, matches, require_match

ID = UUID(int=7)


def test_versions_and_rows_have_tags_of_their_own() -> None:
    assert len({etag(ID, 1), etag(ID, 2), etag(UUID(int=8), 1)}) == 3


@pytest.mark.parametrize("header", ["*", etag(ID, 2), f'"other", {etag(ID, 2)}'])
def test_header_that_names_the_tag_matches(header: str) -> None:
    assert matches(header, etag(ID, 2))
    require_match(header, etag(ID, 2))


# A weak tag never matches where strength is asked for (RFC 9110, 8.8.3.2).
@pytest.mark.parametrize("header", ["", etag(ID, 1), f"W/{etag(ID, 2)}", "nonsense"])
def test_header_that_names_another_is_refused(header: str) -> None:
    with pytest.raises(PreconditionFailed):
        require_match(header, etag(ID, 2))


def test_no_header_asks_nothing() -> None:
    require_match(None, etag(ID, 2))
