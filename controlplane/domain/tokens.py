"""Operator tokens: 32 random bytes, stored only as their hash."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from hashlib import sha256

PREFIX = "camp_"
_TOKEN = re.compile(r"camp_[A-Za-z0-9_-]{43}")


def token_of(entropy: bytes) -> str:
    """The token of 32 random bytes, as an operator holds it."""
    return PREFIX + urlsafe_b64encode(entropy).decode().rstrip("=")


def is_token(text: str) -> bool:
    """Whether it has the shape of one: what has not need not be looked up."""
    return _TOKEN.fullmatch(text) is not None


def token_hash(token: str) -> str:
    """What is stored. No salt and no slow hash: 256 random bits cannot be guessed offline."""
    return sha256(token.encode()).hexdigest()
