"""Print what the image says of itself, as the Dockerfile's build arguments: NAME=VALUE lines.

python scripts/image_labels.py [CHECKOUT]
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from controlplane.adapters.process.bundle_build import describe
from controlplane.domain.errors import BundleError


def main(arguments: list[str]) -> int:
    """0, or 1 with a sentence on stderr when the checkout cannot be described."""
    tree = Path(arguments[0]) if arguments else Path(__file__).parent.parent
    try:
        release = describe(tree)
    except BundleError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    created = datetime.fromtimestamp(release.created_at, UTC)
    print(f"VERSION={release.version}")
    print(f"REVISION={release.revision}")
    print(f"CREATED={created:%Y-%m-%dT%H:%M:%SZ}")
    print(f"SCHEMA_HEAD={release.schema_head}")
    print(f"SCHEMA_MIN={release.schema_min}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
