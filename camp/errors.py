"""Everything the service can say no with: a stable code, a sentence, and whether retrying helps."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar


class CampError(Exception):
    """An error meant for a user; `str(error)` is a sentence with the remedy."""

    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    headers: Mapping[str, str] = MappingProxyType({})
    """What the response carries beside the problem."""


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


class ValidationFailed(Invalid):
    """A parameter or a field of the body is not as described."""

    code = "validation_failed"
    title = "Validation failed"


class BodyTooLarge(CampError):
    """The body has more bytes than a request may have."""

    code = "body_too_large"
    title = "Content too large"
    status = 413


class LastEventIdInvalid(Invalid):
    """The Last-Event-ID header names no place in an answer."""

    code = "last_event_id_invalid"


class RunInputInvalid(Invalid):
    """The input does not fit the kind of run."""

    code = "run_input_invalid"


class IdempotencyKeyReused(CampError):
    """The key belongs to another request."""

    code = "idempotency_key_reused"
    title = "Idempotency key reused"
    status = 422


class Unauthorized(CampError):
    """No usable credentials."""

    code = "unauthorized"
    title = "Unauthorized"
    status = 401


class TokenInvalid(Unauthorized):
    """A bearer token that does not prove what it says."""

    code = "token_invalid"
    headers = MappingProxyType({"WWW-Authenticate": 'Bearer error="invalid_token"'})


class TokenExpired(TokenInvalid):
    """A bearer token that was good once."""

    code = "token_expired"


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


class RunNotFound(NotFound):
    """No such run for this user."""

    code = "run_not_found"


class UserNotFound(NotFound):
    """No user with this id."""

    code = "user_not_found"


class ProjectNotFound(NotFound):
    """No such project, or the caller is no member of it."""

    code = "project_not_found"


class MemberNotFound(NotFound):
    """That user is no member of this project."""

    code = "member_not_found"


class FileNotFound(NotFound):
    """No such file in this project."""

    code = "file_not_found"


class ContentMissing(NotFound):
    """The row of a file is there, its content is not."""

    code = "file_content_missing"


class RoleTooLow(Forbidden):
    """The caller's role in the project does not cover this."""

    code = "role_too_low"


class SystemAdminOnly(Forbidden):
    """Only a SYSTEM_ADMIN may do this."""

    code = "system_admin_only"


class UserUnknown(Invalid):
    """The request names a user that does not exist."""

    code = "user_unknown"


class Conflict(CampError):
    """What is asked for contradicts what is there."""

    code = "conflict"
    title = "Conflict"
    status = 409


class RunActive(Conflict):
    """The run has not ended yet."""

    code = "run_active"


class AlreadyMember(Conflict):
    """The user is in the project already."""

    code = "already_member"


class LastManager(Conflict):
    """The project would be left without a manager."""

    code = "last_manager"


class LastSystemAdmin(Conflict):
    """The service would be left without a SYSTEM_ADMIN."""

    code = "last_system_admin"


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


class StorageUnavailable(Unavailable):
    """The storage of files did not answer, or refused."""

    code = "storage_unavailable"


class UploadsBusy(Unavailable):
    """As many uploads as one instance takes at once."""

    code = "uploads_busy"

    def __init__(self, sentence: str, *, retry_after_s: int) -> None:
        super().__init__(sentence)
        self.headers = {"Retry-After": str(retry_after_s)}


class SignInUnavailable(Unavailable):
    """Tokens cannot be verified: their issuer's keys cannot be fetched."""

    code = "sign_in_unavailable"


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


class TooManyStreams(TooManyRequests):
    """As many streams of this user as may be open at one instance."""

    code = "too_many_streams"


class TooManyUploads(TooManyRequests):
    """As many uploads of this user as may be under way at one instance."""

    code = "too_many_uploads"


class TooManyRuns(TooManyRequests):
    """As many runs of this user as may wait or run at once."""

    code = "too_many_runs"


class ModelFailed(CampError):
    """The model gave no answer, or stopped in the middle; told as an event of the stream."""

    code = "model_failed"
    title = "Bad gateway"
    status = 502


class ModelUnavailable(ModelFailed):
    """The model's provider did not answer, failed, or ended in the middle."""

    code = "model_unavailable"
    retryable = True


class ModelBusy(ModelFailed):
    """The provider's own limit is reached."""

    code = "model_busy"
    retryable = True


class ModelTimeout(ModelFailed):
    """The first token, or the next one, took too long."""

    code = "model_timeout"
    retryable = True


class ModelRefused(ModelFailed):
    """The provider does not accept the request, or the service's own key."""

    code = "model_refused"


class AnswerCut(ModelFailed):
    """Only the beginning of an answer was said, and a model cannot go on with it."""

    code = "answer_cut"


class AnswerLost(ModelFailed):
    """Nothing is kept of an answer that was being said."""

    code = "answer_lost"
