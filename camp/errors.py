"""Everything the service can say no with: a stable code, a sentence, and whether retrying helps."""

from typing import ClassVar


class CampError(Exception):
    """An error meant for a user; `str(error)` is a sentence with the remedy."""

    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False


class SettingsError(CampError):
    """The configuration cannot be used; carries every fault found, one sentence each."""

    code = "settings_invalid"
    title = "Invalid settings"

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class Invalid(CampError):
    """The request is understood and wrong."""

    code = "invalid"
    title = "Invalid request"
    status = 400


class LastEventIdInvalid(Invalid):
    """The Last-Event-ID header names no place in an answer."""

    code = "last_event_id_invalid"


class Unauthorized(CampError):
    """No usable credentials."""

    code = "unauthorized"
    title = "Unauthorized"
    status = 401


class Forbidden(CampError):
    """The caller is known, or not asked for, and may not do this."""

    code = "forbidden"
    title = "Forbidden"
    status = 403


class NotFound(CampError):
    """The thing does not exist, or belongs to someone else: both look the same from outside."""

    code = "not_found"
    title = "Not found"
    status = 404


class ChatNotFound(NotFound):
    """No such chat for this user."""

    code = "chat_not_found"


class MessageNotFound(NotFound):
    """No such message in this chat."""

    code = "message_not_found"


class ProjectNotFound(NotFound):
    """No such project, or the caller is no member of it."""

    code = "project_not_found"


class MemberNotFound(NotFound):
    """That user is no member of this project."""

    code = "member_not_found"


class RoleTooLow(Forbidden):
    """The caller's role in the project does not cover this."""

    code = "role_too_low"


class UserUnknown(Invalid):
    """The request names a user that does not exist."""

    code = "user_unknown"


class Conflict(CampError):
    """What is asked for contradicts what is there."""

    code = "conflict"
    title = "Conflict"
    status = 409


class AlreadyMember(Conflict):
    """The user is in the project already."""

    code = "already_member"


class LastManager(Conflict):
    """The project would be left without a manager."""

    code = "last_manager"


class PreconditionFailed(CampError):
    """If-Match names a version that is no longer the current one."""

    code = "precondition_failed"
    title = "Precondition failed"
    status = 412


class Unavailable(CampError):
    """Something the service needs is away; the same request may work in a moment."""

    code = "unavailable"
    title = "Service unavailable"
    status = 503
    retryable = True


class DatabaseUnavailable(Unavailable):
    """The database did not answer."""

    code = "database_unavailable"


class DatabaseBusy(Unavailable):
    """Every pooled connection stayed in use for the whole pool timeout."""

    code = "database_busy"


class RateLimitUnavailable(Unavailable):
    """Requests cannot be counted, and the policy is to refuse what is not counted."""

    code = "rate_limit_unavailable"


class TooManyRequests(CampError):
    """The budget of this user or address is spent."""

    code = "rate_limited"
    title = "Too many requests"
    status = 429
    retryable = True

    def __init__(self, sentence: str, *, retry_after_s: int) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s
