from __future__ import annotations

import pytest

from camp.files.errors import RangeRefused
from camp.files.ranges import disposition, span

TAG = '"abc"'


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=2-4", (2, 5)),
        ("bytes=7-", (7, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=5-99", (5, 10)),
    ],
)
def test_single_range_is_cut_to_the_file(wanted: str, expected: tuple[int, int]) -> None:
    assert span(wanted, None, TAG, 10) == expected


@pytest.mark.parametrize(
    "wanted", [None, "", "bytes", "bytes=-", "bytes=4-2", "bytes=0-1,3-4", "lines=1-2", "bytes=١-٢"]
)
def test_what_is_no_single_range_means_the_whole_file(wanted: str | None) -> None:
    assert span(wanted, None, TAG, 10) is None


@pytest.mark.parametrize("wanted", ["bytes=10-", "bytes=11-12", "bytes=-0"])
def test_range_after_the_end_is_refused_with_the_size(wanted: str) -> None:
    with pytest.raises(RangeRefused) as caught:
        span(wanted, None, TAG, 10)
    assert caught.value.headers["Content-Range"] == "bytes */10"


@pytest.mark.parametrize(
    ("if_range", "partial"), [(TAG, True), ('"old"', False), ("W/" + TAG, False)]
)
def test_range_of_another_version_means_the_whole_file(if_range: str, partial: bool) -> None:
    assert (span("bytes=0-1", if_range, TAG, 10) is not None) == partial


@pytest.mark.parametrize("name", ['a"b.txt', "日本語.pdf", "a\\b", "100%.csv", "a; filename=x.exe"])
def test_name_cannot_leave_its_place_in_the_header(name: str) -> None:
    header = disposition(name)
    assert header.isascii()
    plain = header.removeprefix('attachment; filename="').partition('"')
    assert plain[2].startswith("; filename*=UTF-8''")
    assert ";" not in plain[2][2:]
