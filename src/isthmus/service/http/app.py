"""The application: routes behind the guard, over one state."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.responses import Response
from pydantic.json_schema import models_json_schema

from isthmus import __version__
from isthmus.service.http.admin import admin, health
from isthmus.service.http.bodies import EventsBody, LoadBody, RankBody, RecommendBody
from isthmus.service.http.console import console
from isthmus.service.http.errors import answer_errors
from isthmus.service.http.guard import Guard
from isthmus.service.http.routes import answer, routes
from isthmus.service.http.state import State

OPENAPI = "/v1/openapi.json"
_REFS = "#/components/schemas/{model}"
_BODIES = (RecommendBody, RankBody, EventsBody, LoadBody)


def application(state: State) -> FastAPI:
    """The application. Its lifespan warms the pipeline up, and closes the store at the end."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        warming = asyncio.create_task(state.warm_up())
        try:
            yield
        finally:
            await asyncio.wait([warming])
            await asyncio.to_thread(state.close)

    app = FastAPI(
        title="Isthmus",
        version=__version__,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    for made in (routes(state), admin(state), health(state), console()):
        app.include_router(made)
    description = _openapi(app, locked=state.settings.key is not None)

    @app.get(OPENAPI, include_in_schema=False)
    async def openapi() -> Response:
        return answer(description)

    answer_errors(app)
    app.add_middleware(Guard, state=state)
    return app


def _openapi(app: FastAPI, *, locked: bool) -> dict[str, Any]:
    """The description, with the bodies that routes read by themselves."""
    described = app.openapi()
    bodies = [(body, "validation") for body in _BODIES]
    _, found = models_json_schema(bodies, ref_template=_REFS)  # type: ignore[arg-type]
    described["components"]["schemas"] |= found["$defs"]
    if locked:
        schemes = {"bearer": {"type": "http", "scheme": "bearer"}}
        described["components"]["securitySchemes"] = schemes
        described["security"] = [{"bearer": []}]
    return described
