"""What an instance counts by itself."""

from __future__ import annotations

from camp.http.local_counts import LocalCounts


def test_strangers_without_number_take_no_memory_without_bound() -> None:
    counts = LocalCounts(keys_max=100)
    assert [counts.add("mine", 1) for _ in range(2)] == [1, 2]
    for number in range(10_000):
        counts.add(f"address:{number}", 1)
        assert counts.add("busy", 1) == number + 1
    assert len(counts) == 100


def test_new_window_begins_at_one() -> None:
    counts = LocalCounts()
    assert [counts.add("mine", window) for window in (1, 1, 2)] == [1, 2, 1]
