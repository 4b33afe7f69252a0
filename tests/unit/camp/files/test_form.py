from __future__ import annotations

import pytest

from camp.files.errors import FormInvalid
from camp.files.form import ASIDE_MAX_BYTES, Form, form_of

CONTENT = b"\x89PNG\r\n--not the boundary\r\n\x00\r"


def part(name: str, content: bytes, more: str = "") -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + content + b"\r\n"


BODY = (
    part("note", b"before")
    + part("file", CONTENT, '; filename="a b.png"\r\nContent-Type: image/png')
    + part("after", b"ignored")
    + b"--b--\r\n"
)


def read(body: bytes, size: int = 10**9) -> tuple[Form, bytes]:
    form = form_of("multipart/form-data; boundary=b")
    assert form is not None
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    found = [form.content(piece, last=False) for piece in pieces]
    return form, b"".join([*found, form.content(b"", last=True)])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 10_000])
def test_file_is_found_however_the_body_is_cut(size: int) -> None:
    form, content = read(BODY, size)
    assert (content, form.name, form.declared) == (CONTENT, "a b.png", "image/png")


def test_file_may_have_neither_name_nor_type() -> None:
    form, content = read(part("file", b"x") + b"--b--")
    assert (content, form.name, form.declared) == (b"x", None, "")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (part("other", b"x") + b"--b--", "no part named `file`"),
        (part("file", b"x") + part("file", b"y") + b"--b--", "two parts"),
        (part("file", b"x"), "cannot be read"),
        (b"", "cannot be read"),
        (b"no form at all", "cannot be read"),
        (b"--b\r\nnonsense\r\n\r\nx\r\n--b--", "cannot be read"),
        (part("note", b"x") * 30 + b"--b--", "cannot be read"),
        (part("note", b"x" * ASIDE_MAX_BYTES) + part("file", b"y") + b"--b--", "more than a file"),
        (part("file", b"y") + b"--b--" + b"x" * ASIDE_MAX_BYTES, "more than a file"),
    ],
)
def test_what_is_no_form_with_one_file_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(FormInvalid, match=words):
        read(body, 1000)


@pytest.mark.parametrize("kind", ["", "image/png", "multipart/mixed; boundary=b"])
def test_other_bodies_are_the_file_itself(kind: str) -> None:
    assert form_of(kind) is None


@pytest.mark.parametrize("kind", ["multipart/form-data", 'multipart/form-data; boundary=""'])
def test_form_without_a_boundary_is_refused(kind: str) -> None:
    with pytest.raises(FormInvalid, match="boundary"):
        form_of(kind)
