"""The interactive reference: Swagger UI from an installed package, so that it works without a network."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from litestar import Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp

from modelhost.http.admin.dialect import route_spec
from modelhost.http.routing.statuses import TEMPORARY_REDIRECT, UNAUTHORIZED

# Only paths of ours, and relative: the page also works under a proxy's path.
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>modelhost</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger.css">
<script src="docs/swagger.js"></script>
<script src="docs/start.js" defer></script>
</head>
<body><div id="swagger-ui"></div></body>
</html>
"""

_START = """\
const dark = matchMedia("(prefers-color-scheme: dark)");
const paint = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", paint);
paint();
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  persistAuthorization: false,
  tryItOutEnabled: true,
  validatorUrl: null,
});
"""

_STYLE = """
.dark-mode .swagger-ui .examples-select__section-label { color: #e4e6e6; }
"""
"""What Swagger UI's own dark colours forget."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_FILES = {"swagger.css": ("swagger_style.css", "text/css"), "swagger.js": ("swagger_bundle.js", "text/javascript")}


ASSETS = (*_FILES, "start.js")
"""Names of what the page needs."""


def _folder() -> Path:
    # Importing the package would read all of its pages into memory.
    spec = find_spec("offapi")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


@get("/", summary="Be shown to the reference", include_in_schema=False, opt=route_spec("docs", text="text/plain"))
async def home() -> Response[bytes]:
    """Where a browser goes that was given the host's address alone."""
    return Response(b"", status_code=TEMPORARY_REDIRECT, headers={"location": "docs"})


@get("/docs", summary="Read and try the routes", opt=route_spec("docs", text="text/html"))
async def docs(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The reference of every route, to read and to try out."""
    headers = {"content-security-policy": _POLICY, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
    return Response(_PAGE.encode(), media_type="text/html", headers=headers)


@get(
    "/docs/{name:str}", summary="Read a file of the reference", include_in_schema=False, opt=route_spec("docs", text="text/plain")
)
async def docs_asset(request: Request[Any, Any, Any], name: str) -> Response[bytes]:
    """The reference's scripts and styles; names are looked up, never joined to a path."""
    headers = {"x-content-type-options": "nosniff", "cache-control": "max-age=3600"}
    if name == "start.js":
        return Response(_START.encode(), media_type="text/javascript", headers=headers)
    if name not in _FILES:
        raise NotFoundException
    file, media_type = _FILES[name]
    extra = _STYLE if name == "swagger.css" else ""
    return Response((_folder() / file).read_bytes() + extra.encode(), media_type=media_type, headers=headers)


_LOCKED = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>modelhost</title>
<link rel="icon" href="data:,">
</head>
<body>
<h1>modelhost</h1>
<p>This host is running, and asks for a key: clients send it as <code>Authorization: Bearer KEY</code>.</p>
<p>Whoever runs the host gives out keys (<code>modelhost keys new NAME</code>), and can show its reference here
without one: <code>public_docs = true</code> under <code>[server]</code>.</p>
</body>
</html>
"""


def locked(headers: dict[str, str]) -> ASGIApp:
    """Return what shows a person who opens the host's address without a key what to do."""
    policy = {"content-security-policy": _POLICY, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
    return ASGIResponse(body=_LOCKED.encode(), status_code=UNAUTHORIZED, media_type="text/html", headers={**headers, **policy})
