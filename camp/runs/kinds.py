"""What a run can do: the registry of kinds, and the two that exist."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Protocol
from uuid import UUID

import msgspec

from camp.errors import Invalid, RunInputInvalid

DEADLINE_S = 3600.0
ATTEMPTS_MAX = 3

# No NUL: PostgreSQL cannot store it in JSON either.
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=32_000, pattern=r"^[^\x00]*$")]


class Job(Protocol):
    """One attempt, as the work sees it."""

    @property
    def user_id(self) -> UUID: ...

    @property
    def checkpoint(self) -> dict[str, Any] | None:
        """What the attempt before this one has reported last."""
        ...

    async def report(self, done: int, total: int | None, checkpoint: dict[str, Any]) -> None:
        """Keep how far it has come; the next attempt begins there."""
        ...


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of work: its input's shape, and what does it. The result must fit into JSON.

    The work raises CampError for what it cannot do; it is tried again if that is retryable.
    """

    input: type[msgspec.Struct]
    work: Callable[[Job, Any], Awaitable[dict[str, Any]]]
    attempts_max: int = ATTEMPTS_MAX
    deadline_s: float = DEADLINE_S


Kinds = Mapping[str, Kind]
Transcript = Callable[[UUID, UUID], Awaitable[str]]
"""The latest of a chat as text, by user and chat, no longer than a model takes. Raises NotFound."""


class Answered(Protocol):
    """A whole answer, and what it took if that was told."""

    @property
    def text(self) -> str: ...

    @property
    def model(self) -> str: ...

    @property
    def prompt_tokens(self) -> int | None: ...

    @property
    def completion_tokens(self) -> int | None: ...


Say = Callable[[str], Awaitable[Answered]]
"""Answers a prompt. Raises CampError."""


def read_input(kinds: Kinds, name: str, given: dict[str, Any]) -> tuple[Kind, Any]:
    """The kind of this name and its input. Raises Invalid, RunInputInvalid."""
    kind = kinds.get(name)
    if kind is None:
        raise Invalid(f"kind: there is no {name!r}. Choose one of {', '.join(sorted(kinds))}.")
    try:
        return kind, msgspec.convert(given, kind.input)
    except msgspec.ValidationError as error:
        raise RunInputInvalid(f"input: {error}. Correct it and send the run again.") from error


class EchoInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text to say back after some steps of `delay_ms` each."""

    text: Text
    steps: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    delay_ms: Annotated[int, msgspec.Meta(ge=0, le=5000)] = 0


class SummariseInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A chat of the user."""

    chat_id: UUID


async def echo(job: Job, given: EchoInput) -> dict[str, Any]:
    """For demonstrations and tests: takes its time, and goes on where it stopped."""
    done = (job.checkpoint or {}).get("done", 0)
    for step in range(done, given.steps):
        await asyncio.sleep(given.delay_ms / 1000)
        await job.report(step + 1, given.steps, {"done": step + 1})
    return {"text": given.text, "steps": given.steps}


def build_kinds(transcript: Transcript, say: Say) -> Kinds:
    """The kinds of this service."""

    async def summarise(job: Job, given: SummariseInput) -> dict[str, Any]:
        said = await transcript(job.user_id, given.chat_id)
        prompt = f"Summarise this conversation in a few sentences:\n\n{said}"
        answer = await say(prompt)
        return {
            "summary": answer.text.replace("\x00", ""),
            "model": answer.model,
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
        }

    return {
        "echo": Kind(input=EchoInput, work=echo),
        "summarise_chat": Kind(input=SummariseInput, work=summarise, deadline_s=900.0),
    }
