"""The docs page in a real browser that can reach nothing but the instance."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.service import NO_DATABASE, running

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
LIMIT_S = 45


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
def test_docs_page_lists_the_routes_offline_and_without_an_error(tmp_path: Path) -> None:
    with running(tmp_path, NO_DATABASE) as instance:
        done = browse(f"{instance.url}/docs", tmp_path)
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    for shown in ("/api/v1/users/me", "/api/v1/chats", "/control/v1/environments", "/health"):
        # The page breaks long paths with zero-width spaces.
        assert f'data-path="{shown}"' in done.stdout.replace("\u200b", "")


def browse(url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The page as the browser sees it when its scripts have run; stderr carries its console."""
    assert CHROMIUM is not None
    return subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
            f"--user-data-dir={folder / 'browser'}",
            "--enable-logging=stderr",
            "--virtual-time-budget=10000",
            "--dump-dom",
            url,
        ],
        env={"HOME": str(folder), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
