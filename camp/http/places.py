"""How much of one kind may go on at once, in this instance."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from camp.errors import CampError, TooManyStreams, TooManyUploads, UploadsBusy

RETRY_AFTER_S = 5


class Places:
    """So many places for each key; who finds none is told with `refusal`."""

    def __init__(self, limit: int, refusal: Callable[[int], CampError]) -> None:
        self._limit = limit
        self._refusal = refusal
        self._taken: Counter[Hashable] = Counter()

    @contextmanager
    def place(self, key: Hashable = None) -> Iterator[None]:
        """One place, taken at once and given back at the end. Raises the refusal."""
        if self._taken[key] >= self._limit:
            raise self._refusal(self._limit)
        self._taken[key] += 1
        try:
            yield
        finally:
            self._taken[key] -= 1
            if not self._taken[key]:
                del self._taken[key]


def too_many_streams(limit: int) -> CampError:
    return TooManyStreams(
        f"You have {limit} streams open here. Close one, or try again in a moment.",
        retry_after_s=RETRY_AFTER_S,
    )


def too_many_uploads(limit: int) -> CampError:
    return TooManyUploads(
        f"You send {limit} files at once already. Send this one when one of them has arrived.",
        retry_after_s=RETRY_AFTER_S,
    )


def uploads_busy(limit: int) -> CampError:
    return UploadsBusy(
        f"This instance takes {limit} uploads at once, and all are under way."
        " Try again in a moment.",
        retry_after_s=RETRY_AFTER_S,
    )
