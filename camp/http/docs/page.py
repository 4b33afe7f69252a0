"""Swagger UI as a render plugin of Litestar's, without a CDN and without inline scripts."""

import gzip
from functools import cache
from pathlib import Path
from typing import Any

from litestar import Request, Response, Router, get
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.params import FromPath

from camp.errors import NotFound

ASSETS = Path(__file__).parent / "assets"
# An instance of the next release may serve other files under these names.
CACHE = "public, max-age=3600"
FILES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
}
START_NAME = "start.js"
START = b"""SwaggerUIBundle({
  url: "/docs/openapi.json",
  dom_id: "#page",
  deepLinking: true,
  persistAuthorization: true,
  validatorUrl: null,
});
"""
PAGE = b"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>camp</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
</head>
<body>
<noscript>This page needs JavaScript. The description itself is at /docs/openapi.json.</noscript>
<div id="page"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/assets/start.js"></script>
</body>
</html>
"""


class DocsPage(OpenAPIRenderPlugin):
    """The page at the root of the docs, and its files under `assets/`."""

    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, _: Request[Any, Any, Any], __: dict[str, Any]) -> bytes:
        """The page; the browser fetches the description by itself."""
        return PAGE

    def receive_router(self, router: Router) -> None:
        """Serve the files as well."""
        router.register(asset)


@get("/assets/{name:str}", include_in_schema=False)
async def asset(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
    """One of Swagger UI's files, packed as it lies on the disk for those who take gzip."""
    headers = {"cache-control": CACHE, "vary": "accept-encoding"}
    if name == START_NAME:
        return Response(START, media_type="text/javascript", headers=headers)
    if name not in FILES:
        raise NotFound("The page has no such file. GET /docs shows the page.")
    body = _packed(name)
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
    else:
        body = gzip.decompress(body)
    return Response(body, media_type=FILES[name], headers=headers)


@cache
def _packed(name: str) -> bytes:
    return (ASSETS / f"{name}.gz").read_bytes()
