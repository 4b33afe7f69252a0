"""The benchmark's story with small sizes: what is under way outlives the instance it runs on."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.survival import Size, survive

SMALL = Size(stream_s=8.0, upload_mb=5, upload_s=3.0, run_s=8.0, drain_deadline_s=5.0)


@pytest.mark.timeout(240)
async def test_stream_upload_and_run_outlive_the_replacement_of_every_instance(
    tmp_path: Path,
) -> None:
    found = await survive(tmp_path / "site", SMALL)
    assert found.whole, found
    assert found.upload_bytes == 5_000_000
    assert found.run_steps == 16
