from __future__ import annotations

import gzip
import hashlib
import re

import httpx
import pytest

from camp.http.docs.page import ASSETS, FILES, PAGE
from tests.service import client_of, settings


def test_files_are_those_that_the_source_names() -> None:
    said = dict(re.findall(r"`(\S+)\.gz` \| ([0-9a-f]{64})", (ASSETS / "SOURCE.md").read_text()))
    found = {
        name: hashlib.sha256(gzip.decompress((ASSETS / f"{name}.gz").read_bytes())).hexdigest()
        for name in FILES
    }
    assert found == said


async def get(path: str, encoding: str) -> httpx.Response:
    async with client_of(settings()) as client:
        return await client.get(path, headers={"accept-encoding": encoding})


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
async def test_page_finds_every_file_that_it_names(encoding: str) -> None:
    async with client_of(settings()) as client:
        assert (await client.get("/docs")).content == PAGE
        for path in re.findall(r'(?:src|href)="(/[^"]+)"', PAGE.decode()):
            response = await client.get(path, headers={"accept-encoding": encoding})
            assert response.status_code == 200
            packed = encoding == "gzip" and response.headers.get("content-encoding") == "gzip"
            assert packed or encoding == "identity" or path.endswith("start.js")


async def test_other_names_are_not_served() -> None:
    for path in ("/docs/assets/SOURCE.md", "/docs/assets/..%2fpage.py", "/docs/assets/x"):
        assert (await get(path, "gzip")).status_code == 404


async def test_description_tells_of_problems_with_examples() -> None:
    described = (await get("/docs/openapi.json", "gzip")).json()
    answers = described["paths"]["/api/v1/chats"]["post"]["responses"]
    assert {"400", "401", "429", "503"} <= set(answers)
    content = answers["429"]["content"]["application/problem+json"]
    (example,) = content["examples"].values()
    assert example["value"]["code"] == "rate_limited"
    assert content["schema"]["$ref"].endswith("Problem")
