"""The routes for those who run the server: health, measures, loading of other runs."""

import asyncio
import time
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from isthmus.errors import IsthmusError
from isthmus.files import StorageError
from isthmus.service.http.bodies import LoadBody
from isthmus.service.http.errors import ApiError, log
from isthmus.service.http.replies import Health, KnownRun, Runs, Stats
from isthmus.service.http.routes import answer, described
from isthmus.service.http.state import State
from isthmus.service.http.strict import parsed
from isthmus.store import Run

_MOST_RUNS = 500


def health(state: State) -> APIRouter:
    """Routes for what watches the process."""
    router = APIRouter(tags=["health"])

    @router.get("/health/live", **described(None, Health))
    async def live() -> Response:
        """The process answers."""
        return answer(Health("live"))

    @router.get("/health/ready", **described(None, Health))
    async def ready() -> Response:
        """Runs are loaded and warm; 503 until then, and once the server is stopping."""
        if not state.ready:
            raise ApiError("not_ready")
        return answer(Health("ready"))

    @router.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """For Prometheus."""
        text = state.measures.as_text(
            state.current.pipeline.loaded.version,
            in_flight=state.in_flight,
            waiting=state.waiting,
            backlog=state.store.backlog,
            ready=state.ready,
        )
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return router


def admin(state: State) -> APIRouter:
    """Routes that show and change what is served."""
    router = APIRouter(prefix="/v1", tags=["admin"])

    @router.get("/stats", **described(None, Stats))
    async def stats() -> Response:
        """Latencies and errors, since the start and of the last minutes."""
        return answer(_stats(state))

    @router.get("/report", **_page())
    async def report() -> Response:
        """The page of the sharing report beside the run, where there is one."""
        page = state.current.beside.page
        if page is None:
            raise ApiError("unknown_route", "there is no sharing report beside the run")
        return HTMLResponse(await asyncio.to_thread(page.read_bytes))

    @router.get("/admin/runs", **described(None, Runs))
    async def runs() -> Response:
        """What is served, what was before, and what could be loaded."""
        return answer(await asyncio.to_thread(_runs, state))

    @router.post("/admin/load", **described(LoadBody, Runs, 403, 409))
    async def load(request: Request) -> Response:
        """Serve other runs. A bad one is refused, and what is served stays."""
        names = parsed(await request.body(), LoadBody).runs
        paths = [_within(state.settings.runs_root, name) for name in names]
        try:
            served = await state.load(paths)
        except StorageError:
            raise
        except IsthmusError as error:
            raise ApiError("bad_run", _without(state.settings.runs_root, str(error))) from None
        log.info("serving version %s", served.pipeline.loaded.version)
        return answer(await asyncio.to_thread(_runs, state))

    @router.post("/admin/rollback", **described(None, Runs, 409, 415))
    async def rollback() -> Response:
        """Serve what was served before."""
        served = state.roll_back()
        log.info("back to version %s", served.pipeline.loaded.version)
        return answer(await asyncio.to_thread(_runs, state))

    return router


def _page() -> dict[str, Any]:
    """What OpenAPI says of a route that answers with a page."""
    told = described(None, str, 404)
    told["responses"][200] = {"content": {"text/html": {"schema": {"type": "string"}}}}
    return told


def _stats(state: State) -> Stats:
    measures = state.measures
    p50, p90, p99 = measures.ring.percentiles((0.5, 0.9, 0.99))
    return Stats(
        version=state.current.pipeline.loaded.version,
        ready=state.ready,
        uptime=round(time.monotonic() - measures.started, 3),
        requests=measures.requests,
        errors=dict(measures.errors),
        p50=p50,
        p90=p90,
        p99=p99,
        waiting=state.waiting,
        backlog=state.store.backlog,
        seconds=measures.ring.seconds(),
    )


def _runs(state: State) -> Runs:
    before = state.previous
    return Runs(
        current=state.current.pipeline.loaded,
        previous=before.pipeline.loaded if before is not None else None,
        report=state.current.beside.page is not None,
        available=tuple(_known(state.settings.runs_root)),
    )


def _known(root: Path | None) -> list[KnownRun]:
    """The runs right below the folder of runs."""
    found = []
    for file in sorted(root.glob("*/run.json"))[:_MOST_RUNS] if root is not None else ():
        try:
            run = Run.open(file.parent, check=False)
        except IsthmusError:  # a stranger's, or of another version
            continue
        packed = any(name.startswith("serving/") for name in run.manifest.files)
        found.append(KnownRun(file.parent.name, run.config["model"], run.finished, packed))
    return found


def _within(root: Path | None, name: str) -> Path:
    """A path below the root, links followed. Raises ApiError for any other."""
    path = (root / name).resolve() if root is not None else None
    if root is None or path is None or not path.is_relative_to(root.resolve()):
        raise ApiError("outside_root")
    return path


def _without(root: Path | None, message: str) -> str:
    """A message without the place of the folder of runs."""
    for place in {str(root.resolve()), str(root)} if root is not None else ():
        message = message.replace(f"{place}/", "").replace(place, "")
    return message
