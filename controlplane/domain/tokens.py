"""Operator tokens: 32 random bytes, stored only as their hash."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import sha256

PREFIX = "camp_"


def token_of(entropy: bytes) -> str:
    """The token of 32 random bytes, as an operator holds it."""
    return PREFIX + urlsafe_b64encode(entropy).decode().rstrip("=")


def token_hash(token: str) -> str:
    """What is stored. No salt and no slow hash: 256 random bits cannot be guessed offline."""
    return sha256(token.encode()).hexdigest()
