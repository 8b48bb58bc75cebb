"""Raw files into the canonical table: every value checked, every rejected row counted and named."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from glob import glob, has_magic
from pathlib import Path

import ibis
import pyarrow as pa
import pyarrow.parquet as pq

from isthmus.data.config import AnyConfig
from isthmus.data.engine import FILE, ROW, Engine, Table
from isthmus.data.textfiles import LINE, TEXT_SUFFIXES, check_names, kind_of, stage_text
from isthmus.data.values import PARSERS, fits
from isthmus.errors import DataError
from isthmus.schema import Frozen

_PARQUET = (".parquet", ".pq")
_OFFENDERS = 10


class Offender(Frozen):
    """A rejected row: its file, and its row (Parquet) or last line (CSV, JSONL), from 1."""

    file: str
    row: int
    reason: str


class Rejected(Frozen):
    """What was not taken over: ``rows`` of ``of``, by reason, and the first of them."""

    rows: int
    of: int
    reasons: dict[str, int]
    first: tuple[Offender, ...]


@dataclass(frozen=True)
class Layout:
    """Which raw columns are read, for what use, and under which name they go on."""

    names: dict[tuple[str, str], str] = field(default_factory=dict)

    @classmethod
    def of(cls, config: AnyConfig) -> "Layout":
        names: dict[tuple[str, str], str] = {}
        for column, use in config.uses():
            known = use == "id" and (column, "key") in names
            names.setdefault((column, "key" if known else use), f"v{len(names)}")
        return cls(names)

    def name(self, column: str, use: str) -> str:
        """The canonical column that holds the raw one for this use."""
        return self.names.get((column, use)) or self.names[column, "key"]

    @property
    def raw(self) -> list[str]:
        """The raw columns, each once."""
        return list(dict.fromkeys(column for column, _ in self.names))


@dataclass(frozen=True, slots=True)
class Interactions:
    """The checked rows (columns as ``layout`` names them) and what was left out of them."""

    table: Table
    layout: Layout
    rejected: Rejected


def read_interactions(engine: Engine, config: AnyConfig, scratch: Path) -> Interactions:
    """Read all files of the configuration.

    Raises:
        DataError: a file or column cannot be used, too many rows are bad, or none is good.
    """
    layout = Layout.of(config)
    files = find_files(config.files)
    text = {file for file in files if kind_of(file) in TEXT_SUFFIXES}
    bad: list[Offender] = []
    lost: Counter[str] = Counter()
    tables = []
    for number, file in enumerate(sorted(text)):
        staged = scratch / f"text{number}.parquet"
        for row in stage_text(file, layout.raw, staged):
            lost[row.reason] += row.lines
            bad.append(Offender(file=file.name, row=row.line, reason=row.reason))
        tables.append(_text_table(engine, staged, file, layout))
    for group in _by_schema([file for file in files if file not in text], layout):
        tables.append(_parquet_table(engine, group, layout))
    try:
        rows = engine.keep(ibis.union(*tables) if len(tables) > 1 else tables[0])
    except engine.errors as error:
        _name_broken([file for file in files if file not in text], layout, engine.reason(error))
        raise
    rejected = _rejected(engine, rows, bad, lost)
    _check_share(config, rejected)
    good = rows.filter(rows.reason.isnull()).drop("reason", "file", "line")
    return Interactions(good, layout, rejected)


def find_files(patterns: Sequence[str]) -> list[Path]:
    """The files of names and globs, sorted, each once.

    Raises:
        DataError: a name or glob without a file, a folder, or an unknown suffix.
    """
    files: set[Path] = set()
    for pattern in patterns:
        magic = has_magic(pattern) and not Path(pattern).exists()
        found = glob(pattern, recursive=True) if magic else [pattern]  # noqa: PTH207 (absolute patterns)
        if not found:
            raise DataError(f"{pattern}: no file matches; check the path, relative to the TOML")
        files.update(_usable(Path(name)) for name in found)
    return sorted(files)


def _usable(file: Path) -> Path:
    if file.is_dir():
        raise DataError(f"{file}: is a folder; name its files, such as {file / '*.parquet'}")
    if not file.exists():
        raise DataError(f"{file}: no such file")
    if kind_of(file) not in (*_PARQUET, *TEXT_SUFFIXES):
        expected = ", ".join((*_PARQUET, *TEXT_SUFFIXES))
        raise DataError(f"{file}: unknown suffix {kind_of(file)!r}; expected one of {expected}")
    return file.resolve()


def _text_table(engine: Engine, staged: Path, file: Path, layout: Layout) -> Table:
    raw = engine.parquet([staged])
    columns = {column: f"c{i}" for i, column in enumerate(layout.raw)}
    return _checked(raw, columns, layout, ibis.literal(file.name), raw[LINE])


def _parquet_table(engine: Engine, files: list[Path], layout: Layout) -> Table:
    raw = engine.parquet(files, layout.raw, numbered=True)
    columns = {column: column for column in layout.raw}
    return _checked(raw, columns, layout, raw[FILE], raw[ROW] + 1)


def _checked(
    raw: Table, columns: dict[str, str], layout: Layout, file: Table, line: Table
) -> Table:
    """Canonical columns; ``reason`` is null where all of the row is good."""
    parsed = {
        name: PARSERS[use](raw[columns[column]], column)
        for (column, use), name in layout.names.items()
    }
    reason = ibis.coalesce(*(part.reason for part in parsed.values()))
    return raw.select(
        **{name: part.value for name, part in parsed.items()},
        reason=reason.cast("string"),
        file=file.cast("string"),
        line=line.cast("int64"),
    )


def _by_schema(files: list[Path], layout: Layout) -> list[list[Path]]:
    groups: dict[str, list[Path]] = {}
    for file in files:
        groups.setdefault(str(_parquet_schema(file, layout)), []).append(file)
    return list(groups.values())


def _parquet_schema(file: Path, layout: Layout) -> pa.Schema:
    try:
        schema: pa.Schema = pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        hint = "is empty" if not file.stat().st_size else f"is no whole Parquet file ({error})"
        raise DataError(f"{file}: {' '.join(hint.split())}") from None
    check_names(file, schema.names, layout.raw)
    if ROW in (name.lower() for name in schema.names):
        raise DataError(f"{file}: column {ROW!r} is the engine's own name; rename it")
    for column, use in layout.names:
        kind = schema.field(column).type
        if not fits(use, kind):
            raise DataError(f"{file}: column {column!r} is of type {kind}; {_EXPECTED[use]}")
    return schema.remove_metadata()


def _name_broken(files: list[Path], layout: Layout, reason: str) -> None:
    """Find the file that stopped the engine, by another reader."""
    for file in files:
        try:
            with pq.ParquetFile(file) as content:
                for _ in content.iter_batches(columns=layout.raw):
                    pass
        except (pa.ArrowException, OSError):
            raise DataError(f"{file}: its rows cannot be read ({reason})") from None


_EXPECTED = {
    "key": "expected text or whole numbers",
    "id": "expected text or whole numbers (for a list: kind = history)",
    "number": "expected numbers",
    "label": "expected 0 and 1",
    "time": "expected seconds since 1970, dates or ISO texts",
    "list": "expected a list of ids, or text such as [1, 2] or 1|2",
}


def _rejected(engine: Engine, rows: Table, bad: list[Offender], lost: Counter[str]) -> Rejected:
    worst = rows.filter(rows.reason.notnull())
    counts = engine.arrow(worst.group_by("reason").agg(n=worst.count())).to_pylist()
    first = engine.arrow(
        worst.order_by("file", "line").limit(_OFFENDERS).select("file", "line", "reason")
    ).to_pylist()
    bad = bad + [Offender(file=r["file"], row=r["line"], reason=r["reason"]) for r in first]
    reasons = lost + Counter({row["reason"]: row["n"] for row in counts})
    total = engine.one(rows.agg(n=rows.count()))["n"] + lost.total()
    return Rejected(
        rows=reasons.total(),
        of=total,
        reasons=dict(sorted(reasons.items())),
        first=tuple(sorted(bad, key=lambda b: (b.file, b.row, b.reason))[:_OFFENDERS]),
    )


def _check_share(config: AnyConfig, rejected: Rejected) -> None:
    if not rejected.of:
        raise DataError(f"{', '.join(config.files)}: no rows, at most a header")
    if rejected.rows == rejected.of or rejected.rows > config.max_rejected * rejected.of:
        first = rejected.first[0]
        reasons = "; ".join(f"{reason}: {n:,} rows" for reason, n in rejected.reasons.items())
        raise DataError(
            f"{rejected.rows:,} of {rejected.of:,} rows cannot be used ({reasons}), more than "
            f"max_rejected = {config.max_rejected:g} allows; the first is {first.file}, row "
            f"{first.row}: {first.reason}"
        )
