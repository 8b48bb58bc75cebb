"""``isthmus prepare``: raw files to a prepared data set, without a leak, or not at all."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import ibis
import pyarrow.parquet as pq

import isthmus
from isthmus.data import leaks
from isthmus.data.config import AnyConfig, PrepareConfig
from isthmus.data.engine import Engine, Table, open_engine
from isthmus.data.features import Learned, build_schema, encode, learn, source_column
from isthmus.data.interactions import Interactions, read_interactions
from isthmus.data.leaks import Finding
from isthmus.data.prepared import MANIFEST, FileRecord, Manifest, Prepared, sha256
from isthmus.data.sequence_config import SequenceConfig
from isthmus.data.sequence_prepare import write_sequences
from isthmus.data.split import SPLITS, by_time, column_code, protocol, time_code, user_code
from isthmus.data.vocabulary import tally, vocabulary_file
from isthmus.data.writing import SplitWriter, directory, write_splits
from isthmus.errors import DataError
from isthmus.progress import Reporter, quiet
from isthmus.schema import Schema

STAGES = ("read", "split", "vocabulary", "audit", "features", "write", "hash")


@dataclass(frozen=True, slots=True)
class _Rows:
    """Checked rows with named key columns and a split, and how they were split."""

    table: Table
    protocol: str
    times: Table | None


def prepare(config: AnyConfig, out: Path | str, *, reporter: Reporter = quiet) -> Prepared:
    """Make the directory ``out`` from raw files.

    The same rows give the same bytes, whatever their order in whatever files.

    Raises:
        DataError: files, columns or rows cannot be used, or ``out`` holds something else.
        LeakError: the audit found what blocks, and ``accept_leaks`` is not set.
        ConfigError: the engine or its memory is not one that this version has.
    """
    if isinstance(config, SequenceConfig):
        return _prepare_sequences(config, out, reporter)
    out = Path(out).absolute()
    with directory(out) as folder, reporter.task(f"prepare {config.name}", len(STAGES)) as advance:
        scratch = folder / "scratch"
        with open_engine(config.engine, scratch, config.memory, config.spark) as engine:
            raw = read_interactions(engine, config, scratch)
            _note_rejected(raw, reporter)
            advance(1)
            rows = _split(engine, raw, config)
            advance(1)
            train = rows.table.filter(rows.table.split == 0)
            learned = learn(engine, train, config, raw.layout)
            schema = build_schema(config, learned)
            advance(1)
            findings = _audit(engine, rows, raw, config, learned)
            leaks.judge(findings, config.accept_leaks)
            advance(1)
            encoded = encode(engine, rows.table, config, raw.layout, learned)
            advance(1)
            written = write_splits(engine, encoded, schema, folder)
            _write_vocabularies(folder, learned)
            advance(1)
        shutil.rmtree(scratch)
        findings += leaks.unseen(written.unknown()) + _empty_splits(written)
        for finding in findings:
            reporter.note(f"audit [{finding.code}, {finding.severity}]: {finding.message}")
        manifest = _manifest(config, raw, rows, learned, schema, written, findings)
        manifest = manifest.model_copy(update={"files": _hashes(folder)})
        (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        advance(1)
    return Prepared.open(out, verify=False)


def _prepare_sequences(config: SequenceConfig, out: Path | str, reporter: Reporter) -> Prepared:
    out = Path(out).absolute()
    with directory(out) as folder, reporter.task(f"prepare {config.name}", 3) as advance:
        scratch = folder / "scratch"
        with open_engine(config.engine, scratch, config.memory, config.spark) as engine:
            raw = read_interactions(engine, config, scratch)
            _note_rejected(raw, reporter)
            advance(1)
            manifest = write_sequences(engine, raw, config, folder)
            advance(1)
        shutil.rmtree(scratch)
        for finding in manifest.audit:
            reporter.note(f"audit [{finding.code}, {finding.severity}]: {finding.message}")
        manifest = manifest.model_copy(update={"files": _hashes(folder)})
        (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        advance(1)
    return Prepared.open(out, verify=False)


def _note_rejected(raw: Interactions, reporter: Reporter) -> None:
    rejected = raw.rejected
    if not rejected.rows:
        return
    reporter.note(f"{rejected.rows:,} of {rejected.of:,} rows rejected:")
    for reason, rows in rejected.reasons.items():
        first = next((bad for bad in rejected.first if bad.reason == reason), None)
        where = f", first {first.file} row {first.row}" if first else ""
        reporter.note(f"  {reason}: {rows:,} rows{where}")


def with_keys(raw: Interactions, config: PrepareConfig) -> Table:
    """The rows with ``user, item, domain, label`` and ``time`` (0 where there is none) beside them."""
    names, columns = raw.layout, config.columns
    time = ibis.literal(0, "int64")
    if columns.time is not None:
        time = raw.table[names.name(columns.time, "time")]
    return raw.table.mutate(
        user=raw.table[names.name(columns.user, "key")],
        item=raw.table[names.name(columns.item, "key")],
        domain=raw.table[names.name(columns.domain, "key")],
        label=raw.table[names.name(columns.label, "label")],
        time=time,
    )


def _split(engine: Engine, raw: Interactions, config: PrepareConfig) -> _Rows:
    """Name the key columns and give each row its split.

    Raises:
        DataError: no training rows, or the split cannot be made.
    """
    names, columns, rows = raw.layout, config.columns, with_keys(raw, config)
    times = engine.keep(tally(rows, "time")) if columns.time is not None else None
    cuts = None
    if config.split.by == "time" and times is not None:
        cuts = by_time(engine, times, config.split.fractions)
        code = time_code(rows.time, cuts)
    elif config.split.by == "user":
        code = user_code(rows.user, config.split)
    else:
        column = rows[names.name(str(config.split.column), "key")]
        code = column_code(engine, column, config.split, rows)
    table = rows.mutate(split=code)
    if not engine.one(table.agg(n=(table.split == 0).cast("int64").sum()))["n"]:
        raise DataError(f"no training rows ({protocol(config.split, cuts)}); change the split")
    return _Rows(table, protocol(config.split, cuts), times)


def _audit(
    engine: Engine, rows: _Rows, raw: Interactions, config: PrepareConfig, learned: Learned
) -> list[Finding]:
    train = rows.table.filter(rows.table.split == 0)
    findings: list[Finding] = []
    for feature in config.features:
        if feature.of is not None:
            continue
        if feature.kind == "history":
            column = source_column(raw.layout, feature)
            findings += leaks.own_item(engine, train, feature.name, column)
            continue
        values = learned.tallies[feature.name]
        found = [leaks.by_value(engine, values)]
        if feature.kind == "number":
            found += [leaks.by_order(engine, values), leaks.by_hundredths(engine, values)]
        findings += leaks.label_in_feature(feature.name, found)
        findings += leaks.constant(engine, feature.name, values)
    if rows.times is not None:
        findings += leaks.label_in_time(engine, rows.times)
    if config.split.by == "column" and config.columns.time is not None:
        collects = any(feature.of is not None for feature in config.features)
        findings += leaks.split_order(engine, rows.table, collects)
        findings += leaks.split_twins(engine, rows.table)
    return findings


def _empty_splits(written: SplitWriter) -> list[Finding]:
    totals = {
        split: sum(count.rows for count in domains.values())
        for split, domains in written.counts().items()
    }
    return [
        Finding(
            code="empty-split",
            severity="warns",
            feature="split",
            message=f"the {split} split has no rows; change the fractions or the split",
        )
        for split in SPLITS
        if not totals[split]
    ]


def _write_vocabularies(folder: Path, learned: Learned) -> None:
    for table, words in learned.words.items():
        file = folder / vocabulary_file(table)
        file.parent.mkdir(exist_ok=True)
        pq.write_table(words, file, compression="zstd")


def _hashes(folder: Path) -> dict[str, FileRecord]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        file.relative_to(folder).as_posix(): FileRecord(
            sha256=sha256(file), bytes=file.stat().st_size
        )
        for file in files
    }


def _manifest(
    config: PrepareConfig,
    raw: Interactions,
    rows: _Rows,
    learned: Learned,
    schema: Schema,
    written: SplitWriter,
    findings: list[Finding],
) -> Manifest:
    return Manifest(
        isthmus=isthmus.__version__,
        name=config.name,
        source=config.source,
        protocol=rows.protocol,
        config=config,
        data_schema=schema,
        bins=learned.edges,
        splits=written.counts(),
        unknown=written.unknown(),
        audit=tuple(findings),
        rejected=raw.rejected,
        files={},
    )
