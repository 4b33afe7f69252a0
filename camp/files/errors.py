"""What an upload or a download is refused with."""

from camp.errors import CampError, Invalid


class FileEmpty(Invalid):
    """An upload without a byte."""

    code = "file_empty"


class FileNameInvalid(Invalid):
    """A file without a name, or with one that could be a path."""

    code = "file_name_invalid"


class FormInvalid(Invalid):
    """A multipart body that cannot be read, or has not one file."""

    code = "form_invalid"


class UploadCut(Invalid):
    """The client went away in the middle; nobody reads this but the log."""

    code = "upload_cut"
    retryable = True


class UploadStalled(CampError):
    """Nothing came for too long in the middle of an upload."""

    code = "upload_stalled"
    title = "Request timeout"
    status = 408
    retryable = True


class FileTooLarge(CampError):
    """More bytes than a file may have."""

    code = "file_too_large"
    title = "Content too large"
    status = 413


class QuotaExceeded(CampError):
    """More bytes than a project may keep."""

    code = "project_quota_exceeded"
    title = "Content too large"
    status = 413


class TypeRefused(CampError):
    """A type of file that is not allowed, or not what it says it is."""

    code = "file_type_refused"
    title = "Unsupported media type"
    status = 415


class RangeRefused(CampError):
    """A range that begins after the end of the file."""

    code = "range_not_satisfiable"
    title = "Range not satisfiable"
    status = 416

    def __init__(self, sentence: str, size: int) -> None:
        super().__init__(sentence)
        self.headers = {"Content-Range": f"bytes */{size}"}
