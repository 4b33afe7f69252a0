from __future__ import annotations

import pytest

from tests.build import OLD
from tests.fakes.runtime import Behaviour
from tests.one_host import Ground


@pytest.fixture
def ground() -> Ground:
    return Ground(behaviours={OLD.digest: Behaviour(start_s=0.3, streams_s=1.0)})
