"""The console page, from files that come with the package: it asks nothing of anyone else.

The page is never kept by browsers. What it loads lies below a name that stands for its content, and
is kept for good: a newer version of the package has another name.
"""

import hashlib
from importlib.resources import files
from typing import Final

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from isthmus.report.palette import DARK, LIGHT, properties
from isthmus.service.http.errors import ApiError

TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE: Final = "index.html"
_CONTENT: Final = "CONTENT"


def console() -> APIRouter:
    """The page at ``/``, and its parts below ``/console/``."""
    parts = {one.name: one.read_bytes() for one in (files("isthmus.service") / "console").iterdir()}
    shared = files("isthmus.report") / "page" / "shared.css"
    parts["console.css"] = shared.read_bytes() + parts["console.css"]
    parts["palette.css"] = _palette()
    content = hashlib.sha256(b"".join(parts[name] for name in sorted(parts))).hexdigest()[:12]
    page = parts.pop(_PAGE).replace(_CONTENT.encode(), content.encode())
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def index() -> Response:
        return HTMLResponse(page, headers={"content-security-policy": POLICY})

    @router.get(f"/console/{content}/{{name}}")
    async def part(name: str) -> Response:
        kind = TYPES.get(name[name.rfind(".") :])
        if name not in parts or kind is None:
            raise ApiError("unknown_route")
        kept = {"cache-control": "public, max-age=31536000, immutable"}
        return Response(parts[name], headers=kept, media_type=kind)

    return router


def _palette() -> bytes:
    """The colours of the report: light, and dark where that is wished for."""
    dark = f":root {{ {properties(DARK)} color-scheme: dark; }}"
    return (
        f":root {{ {properties(LIGHT)} color-scheme: light; }}\n"
        f"@media (prefers-color-scheme: dark) {{ {dark} }}\n"
    ).encode()
