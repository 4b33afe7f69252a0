"""Who may use the control API, over HTTP. New operators are made beside the database only."""

from __future__ import annotations

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from controlplane.domain.errors import NotFound
from controlplane.router.control import Control
from controlplane.router.views import operator_view
from controlplane.wire import OperatorRevoked, OperatorView, RevokeOperator


class OperatorController(Controller):
    """Operators by name; tokens are never shown."""

    path = "/operators"

    @get()
    async def list_operators(self, control: NamedDependency[Control]) -> list[OperatorView]:
        """All operators, the revoked ones too."""
        return [operator_view(row) for row in await control.ledger.operators()]

    @post("/{name:str}/revoke", status_code=200)
    async def revoke_operator(
        self,
        control: NamedDependency[Control],
        actor: NamedDependency[str],
        name: FromPath[str],
        data: JSONBody[RevokeOperator],
    ) -> OperatorRevoked:
        """Make an operator's token unknown; instances notice within five seconds."""
        changed = await control.ledger.revoke_operator(name, actor, data.reason)
        for row in await control.ledger.operators():
            if row.name == name:
                return OperatorRevoked(operator=operator_view(row), changed=changed)
        raise NotFound(f"There is no operator {name!r}; see camp operator list.")
