"""Which part of a file a download wants (RFC 9110, section 14)."""

import re
from urllib.parse import quote

from camp.files.errors import RangeRefused

_RANGE = re.compile(r"bytes=\s*([0-9]{0,18})-([0-9]{0,18})\s*")


def span(wanted: str | None, if_range: str | None, tag: str, size: int) -> tuple[int, int] | None:
    """(first byte, one after the last), or None for the whole file. Raises RangeRefused.

    What is no single range of bytes is answered with the whole file, as the RFC allows, and so
    is a range of a version that If-Range names and that this is not.
    """
    match = _RANGE.fullmatch(wanted or "")
    if match is None or (if_range is not None and if_range.strip() != tag):
        return None
    first, last = match.groups()
    if first:
        start, end = int(first), int(last) + 1 if last else size
        if last and end <= start:
            return None
    elif last:
        start, end = max(0, size - int(last)), size
    else:
        return None
    if start >= min(end, size):
        raise RangeRefused(f"Range: the file has {size} bytes, 0 to {size - 1}.", size)
    return start, min(end, size)


def disposition(name: str) -> str:
    """A Content-Disposition that saves the file under its name and never shows it (RFC 6266)."""
    plain = re.sub(r'[^\x20-\x7e]|["\\%]', "_", name)
    encoded = quote(name, safe="", errors="replace")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"
