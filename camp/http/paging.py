"""Pages of a list: which part, in what order, filtered by what; in advanced-alchemy's manner."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from advanced_alchemy.filters import LimitOffset, OrderBy, SearchFilter
from litestar.pagination import OffsetPagination
from litestar.params import QueryParameter
from sqlalchemy import Select, func, select

from camp.database.engine import Sessions, TimedBase

T = TypeVar("T")

SortOrder = Literal["asc", "desc"]
LimitParameter = Annotated[
    int, QueryParameter(ge=1, le=100, description="How many items at the most.")
]
OffsetParameter = Annotated[
    int, QueryParameter(ge=0, le=1_000_000, description="How many items to leave out first.")
]
SortParameter = Annotated[SortOrder, QueryParameter(name="sortOrder")]
SearchParameter = Annotated[
    str | None,
    # No NUL: PostgreSQL cannot compare text with it.
    QueryParameter(max_length=100, pattern=r"^[^\x00]*$", description="A part of the text."),
]


class PageQuery(msgspec.Struct, frozen=True):
    """What a list request asks for; `order_by` is a column that the route allows."""

    limit: int
    offset: int
    order_by: str
    sort_order: SortOrder
    search: str | None = None


async def page(
    sessions: Sessions,
    query: Select[*tuple[Any, ...]],
    asked: PageQuery,
    *,
    model: type[TimedBase],
    searched: set[str],
    out: Callable[[Any], T],
) -> OffsetPagination[T]:
    """One page of the query's rows, each made into an item by `out`, and the total of all pages.

    `searched` are the text columns of `model` that `asked.search` may be a part of, in any case.
    """
    if asked.search:
        parts = SearchFilter(searched, asked.search, ignore_case=True, escape_wildcards=True)
        query = parts.append_to_statement(query, model)
    total = select(func.count()).select_from(query.subquery())
    # Rows that are equal in the order asked for must not change places between two pages.
    ordered = OrderBy(asked.order_by, asked.sort_order).append_to_statement(query, model)
    ordered = ordered.order_by(model.id)
    ordered = LimitOffset(asked.limit, asked.offset).append_to_statement(ordered, model)
    async with sessions() as session:
        rows = (await session.execute(ordered)).all()
        full = len(rows) == asked.limit or (asked.offset and not rows)
        count = await session.scalar(total) if full else asked.offset + len(rows)
    return OffsetPagination([out(row) for row in rows], asked.limit, asked.offset, count or 0)
