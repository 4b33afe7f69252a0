"""What one process counts by itself, in memory that has a bound."""

# Some 15 MB, were there ever so many: addresses cost a stranger nothing.
KEYS_MAX = 100_000


class LocalCounts:
    """Counts of one window in this process; of too many keys the one longest not heard of goes."""

    def __init__(self, keys_max: int = KEYS_MAX) -> None:
        self._counts: dict[str, int] = {}
        self._window = 0
        self._keys_max = keys_max

    def add(self, key: str, window: int) -> int:
        """Count one more; what it makes in all."""
        if window != self._window:
            self._counts.clear()
            self._window = window
        count = self._counts.pop(key, 0) + 1
        self._counts[key] = count  # at the end: who asks on is not forgotten
        if len(self._counts) > self._keys_max:
            del self._counts[next(iter(self._counts))]
        return count

    def forgive(self, key: str, window: int) -> None:
        """Count one less."""
        if self.of(key, window):
            self._counts[key] -= 1

    def of(self, key: str, window: int) -> int:
        """The count so far."""
        return self._counts.get(key, 0) if window == self._window else 0

    def __len__(self) -> int:
        return len(self._counts)
