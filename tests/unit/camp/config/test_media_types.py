from __future__ import annotations

import pytest

from camp.config.media_types import parse_types


@pytest.mark.parametrize("types", ["image", "image/*", ",", "a/b/c"])
def test_what_is_no_media_type_is_refused(types: str) -> None:
    with pytest.raises(ValueError, match="not a media type"):
        parse_types(types)
