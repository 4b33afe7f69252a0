"""The file in a multipart/form-data body (RFC 7578), found while it passes, never held."""

from multipart import (  # type: ignore[import-untyped]  # it has no types of its own
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from camp.files.errors import FormInvalid

MEDIA_TYPE = "multipart/form-data"
PART = "file"
# Boundaries, heads of parts, and fields that are no file: a browser sends a few hundred bytes.
ASIDE_MAX_BYTES = 64 * 1024
PARTS_MAX = 20


class Form:
    """Takes a form's bytes as they come, and gives those of the part named `file`.

    `name` and `declared`, its file name and type, are known with its first byte.
    """

    def __init__(self, boundary: str) -> None:
        self._parser = PushMultipartParser(boundary, max_segment_count=PARTS_MAX)
        self._inside = self._found = False
        self._aside = 0
        self.name: str | None = None
        self.declared = ""

    def content(self, chunk: bytes, *, last: bool) -> bytes:
        """The file's bytes in this chunk. Raises FormInvalid."""
        found = bytearray()
        try:
            for event in self._parser.parse(chunk) if chunk else ():
                if isinstance(event, MultipartSegment):
                    self._begin(event)
                elif event is None:
                    self._inside = False
                elif self._inside:
                    found += event
            if last:
                self._parser.close()
        except MultipartError as error:
            raise FormInvalid(f"The form cannot be read: {error}. Send it again, whole.") from error
        self._aside += len(chunk) - len(found)
        if self._aside > ASIDE_MAX_BYTES:
            raise FormInvalid("The form holds more than a file. Send the part `file` only.")
        if last and not self._found:
            raise FormInvalid("The form has no part named `file`. Send the file as that part.")
        return bytes(found)

    def _begin(self, part: MultipartSegment) -> None:
        self._inside = part.name == PART
        if not self._inside:
            return
        if self._found:
            raise FormInvalid("The form has two parts named `file`. Send one file a request.")
        self._found = True
        self.name = part.filename
        self.declared = part.content_type or ""


def form_of(content_type: str) -> Form | None:
    """What reads a body of this Content-Type; None when the body is the file itself.

    Raises FormInvalid.
    """
    kind, options = parse_options_header(content_type)
    if kind != MEDIA_TYPE:
        return None
    if not options.get("boundary"):
        raise FormInvalid("Content-Type names no boundary. Let your HTTP client make the form.")
    try:
        return Form(options["boundary"])
    except MultipartError as error:
        raise FormInvalid(f"Content-Type: {error}. Let your HTTP client make the form.") from error
