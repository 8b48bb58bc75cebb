"""Many requests from files, and their replies into one: what ``isthmus recommend`` does."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from isthmus.errors import ConfigError, DataError
from isthmus.files import atomically
from isthmus.progress import Reporter, quiet
from isthmus.service.pipeline import Pipeline
from isthmus.service.types import HistorySource, Id, Recommended, Reply, Request
from isthmus.toml import told

ENDINGS = (".jsonl", ".parquet")
_PART = 8192  # rows that are written at a time
_COLUMNS = {
    "user": pa.string(),
    "rank": pa.int32(),
    "item": pa.string(),
    "domain": pa.string(),
    "score": pa.float64(),
    "retrieval_score": pa.float64(),
    "retrieval_rank": pa.int32(),
    "known": pa.bool_(),
    "fallback": pa.string(),
    "version": pa.string(),
}


@dataclass(frozen=True, slots=True)
class PastEvent:
    """A line of a file of events."""

    user: Id
    item: Id
    domain: str = ""
    time: float = 0.0
    value: float | None = None


class FileHistory:
    """Events from a JSONL or Parquet file with columns ``user, item`` and maybe ``domain, time``.

    Without times, a user's later lines are the newer ones.
    """

    def __init__(self, path: Path) -> None:
        """Raises DataError: no such file, or a line that is no event; it names the first one."""
        self._events: dict[str, list[PastEvent]] = defaultdict(list)
        adapter = TypeAdapter(PastEvent)
        for number, values in enumerate(_lines(path), 1):
            if isinstance(values, dict) and values.get("time") is None:
                values = {**values, "time": float(number)}
            try:
                event = adapter.validate_python(values)
            except ValidationError as error:
                raise DataError(f"{path}: event {number}: {told(error)}") from None
            self._events[event.user].append(event)

    def history(self, user: str, limit: int) -> Sequence[PastEvent]:
        return sorted(self._events.get(user, ()), key=lambda event: event.time)[-limit:]


def requests(path: Path, like: Request) -> Iterator[Request]:
    """The requests of a file: JSONL of requests, whose fields win over those of ``like``; or a user's
    id a line.

    Raises:
        DataError: no such file, or a line that is no request; it names the line.
    """
    for number, values in enumerate(_lines(path) if path.suffix in ENDINGS else _ids(path), 1):
        yield request(values, f"{path}: request {number}", like)


def request(values: object, where: str, like: Request | None = None) -> Request:
    """The request in these values, whose fields win over those of ``like``.

    Raises:
        DataError: they are no request; it names ``where`` and the first wrong field.
    """
    if not isinstance(values, dict):
        raise DataError(f"{where}: expected a JSON object")
    said = {name: getattr(like, name) for name in like.model_fields_set} if like else {}
    try:
        return Request.model_validate({**said, **values})
    except ValidationError as error:
        raise DataError(f"{where}: {told(error)}") from None


def recommend_all(
    pipeline: Pipeline,
    asked: Sequence[Request],
    *,
    history: HistorySource | None = None,
    reporter: Reporter = quiet,
) -> Iterator[tuple[Request, Reply]]:
    """Each request with its reply, in their order."""
    with reporter.task("recommend", len(asked)) as advance:
        for request in asked:
            yield request, pipeline.recommend(request, history=history)
            advance(1)


def write(replies: Iterable[tuple[Request, Reply]], out: Path) -> int:
    """Write replies as JSONL (a reply a line) or Parquet (an item a row); how many there were.

    Raises:
        ConfigError: the file's ending is neither ``.jsonl`` nor ``.parquet``.
    """
    if out.suffix not in ENDINGS:
        raise ConfigError(f"{out}: expected a name that ends in {' or '.join(ENDINGS)}")
    count = 0
    with atomically(out) as path:
        sink = _Lines(path) if out.suffix == ".jsonl" else _Rows(path)
        with sink:
            for request, reply in replies:
                sink.add(request, reply)
                count += 1
    return count


class _Lines:
    """JSONL, a reply a line."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add(self, request: Request, reply: Reply) -> None:
        self._file.write(as_json(request, reply) + "\n")


class _Rows:
    """Parquet, an item a row."""

    def __init__(self, path: Path) -> None:
        self._schema = pa.schema(list(_COLUMNS.items()))
        self._file = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._waiting: list[dict[str, Any]] = []

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None:
        self._flush()
        self._file.close()

    def add(self, request: Request, reply: Reply) -> None:
        self._waiting += [_row(request, reply, item) for item in reply.items]
        if len(self._waiting) >= _PART:
            self._flush()

    def _flush(self) -> None:
        self._file.write_table(pa.Table.from_pylist(self._waiting, self._schema))
        self._waiting = []


def as_json(request: Request, reply: Reply) -> str:
    """A reply as one line of JSON, with the user and without the times that it took."""
    values = {"user": request.user, **asdict(reply)}
    del values["milliseconds"]
    return json.dumps(values, ensure_ascii=False, allow_nan=False)


def _row(request: Request, reply: Reply, item: Recommended) -> dict[str, Any]:
    beside = {"user": request.user, "fallback": reply.flags.fallback, "version": reply.version}
    return beside | {name: getattr(item, name) for name in _COLUMNS if name not in beside}


def _lines(path: Path) -> Iterator[Any]:
    """The rows of a Parquet file or the values of a JSONL file."""
    if path.suffix not in ENDINGS:
        raise DataError(f"{path}: expected a name that ends in {' or '.join(ENDINGS)}")
    try:
        if path.suffix == ".parquet":
            yield from pq.read_table(path).to_pylist()
            return
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, pa.ArrowInvalid) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):
            raise DataError(f"{path}: line {number} is not JSON: {line[:60]!r}") from None


def _ids(path: Path) -> Iterator[dict[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    for line in lines:
        if line.strip():
            yield {"user": line.strip()}
