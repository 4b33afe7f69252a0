from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzzing.run import fuzzed

CASES = 3
DEADLINE_S = 180


@pytest.mark.timeout(DEADLINE_S)
def test_no_request_that_the_api_describes_ends_in_a_server_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Traced, the client and the service take half as long again, and nothing else is covered.
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    assert fuzzed(tmp_path, CASES, seed=1) == 0
