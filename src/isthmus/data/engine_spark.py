"""Spark through Ibis: all that is Spark's own is in this file.

Everything passes through Parquet files: no rows go through Python workers or the driver's memory.
"""

import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
from py4j.protocol import Py4JError, Py4JJavaError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException
from pyspark.java_gateway import launch_gateway
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from isthmus.data.engine import FILE, ROW, Engine, Table, first_line, mebibytes
from isthmus.data.spark_config import SparkSettings
from isthmus.errors import ConfigError, DataError

_SESSION = {
    # what cannot be cast or is beyond a list's end is null, as the expressions expect
    "spark.sql.ansi.enabled": "false",
    "spark.sql.legacy.sizeOfNull": "false",
    "spark.sql.caseSensitive": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.legacy.parquet.nanosAsLong": "true",
}
_CONTEXT = {
    "spark.app.name": "isthmus prepare",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.catalogImplementation": "in-memory",
}
_LOCAL_PARTS = "16"
"""Partitions of a shuffle on one machine; Spark's own 200 are for clusters."""


class Spark(Engine):
    """A session on a cluster or on this machine; workers must see ``scratch`` and the raw files.

    A session that is active already is used and left running; one's own ends with its Java machine.
    """

    errors = (PySparkException, Py4JError)

    def __init__(self, scratch: Path, memory: str, settings: SparkSettings) -> None:
        super().__init__(scratch)
        active = SparkSession.getActiveSession()
        session = active or _started(scratch, mebibytes(memory), settings)
        self._own = None if active else session
        self._session = session.newSession()
        for name, value in _SESSION.items():
            self._session.conf.set(name, value)
        self._connection = ibis.pyspark.connect(self._session)

    def parquet(
        self, files: Sequence[Path], columns: Sequence[str] | None = None, *, numbered: bool = False
    ) -> Table:
        schema = pq.read_schema(files[0])
        fields = [schema.field(name) for name in columns or schema.names]
        asked = T.StructType([T.StructField(f.name, _stored(f.type)) for f in fields])
        rows = self._session.read.schema(asked).parquet(*map(_readable, files))
        wanted = [_column(f, checked=numbered).alias(f.name) for f in fields]
        if numbered:
            name = F.replace(F.col("_metadata.file_name"), F.lit("+"), F.lit("%2B"))
            wanted.append(F.url_decode(name).alias(FILE))
            wanted.append(F.col("_metadata.row_index").alias(ROW))
        return self._view(rows.select(*wanted))

    def _view(self, rows: DataFrame) -> Table:
        name = ibis.util.gen_name("isthmus")
        rows.createOrReplaceTempView(name)
        return self._connection.table(name)

    def _write(self, table: Table, place: Path) -> list[Path]:
        rows = self._session.sql(self._connection.compile(table))
        rows.write.parquet(f"file://{place}", compression="lz4")
        # parts are numbered in the order of the rows
        return sorted(place.glob("part-*.parquet"))

    def reason(self, error: BaseException) -> str:
        if isinstance(error, Py4JJavaError):
            return str(error.java_exception.getMessage()).strip().splitlines()[0]
        return first_line(error)

    def _is_full(self, error: BaseException) -> bool:
        return "OutOfMemory" in str(error)

    def _close(self) -> None:
        if self._own is not None:
            with suppress(Py4JError, OSError):  # where Java has ended already
                self._own.stop()
            _end_java()


def _started(scratch: Path, memory: int, settings: SparkSettings) -> SparkSession:
    """A new session.

    Raises:
        ConfigError: there is no Java, or no such master.
    """
    _check_java()
    conf = SparkConf().setMaster(settings.master).setAll(_CONTEXT.items())
    conf.set("spark.driver.memory", f"{memory}m")
    conf.set("spark.sql.warehouse.dir", str(scratch / "warehouse"))
    if settings.master.startswith("local"):  # a cluster's workers have disks of their own
        conf.set("spark.local.dir", str(scratch / "spill"))
        conf.set("spark.sql.shuffle.partitions", _LOCAL_PARTS)
        conf.set("spark.driver.bindAddress", "127.0.0.1").set("spark.driver.host", "127.0.0.1")
    conf.setAll(settings.conf.items())
    log = scratch / "spark.log"
    try:
        gateway = None
        if SparkContext._gateway is None:
            with log.open("wb") as stream:  # what Java says would else stand amid our own lines
                gateway = launch_gateway(conf, {"stdout": stream, "stderr": stream})
        return SparkSession(SparkContext(conf=conf, gateway=gateway))
    except (PySparkException, Py4JError) as error:
        told = _why(error, log)
        _end_java()
        raise ConfigError(
            f"Spark cannot be started with master = {settings.master!r}: {told}"
        ) from None


def _end_java() -> None:
    """End the Java machine that a session was started in, unless another program started it.

    It would keep its memory and, for whatever session comes next, the folder it spills into.
    """
    gateway = SparkContext._gateway
    process = getattr(gateway, "proc", None)
    if gateway is None or process is None:
        return
    gateway.shutdown()
    SparkContext._gateway = SparkContext._jvm = None
    process.stdin.close()  # it ends with its input
    process.wait()


def _check_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java", path=f"{home}/bin" if home else None) is None:
        where = f"JAVA_HOME = {home} has none" if home else "no command java"
        raise ConfigError(
            f'engine = "spark" needs Java, which is not there ({where}); install Java 17, such as '
            f'"apt install openjdk-17-jre-headless", or use engine = "duckdb"'
        )


def _why(error: Exception, log: Path) -> str:
    """The reason in one line: from Java's exception, or from what it wrote before it ended."""
    if isinstance(error, Py4JJavaError):
        told = str(error.java_exception.getMessage()).strip().splitlines()[0]
        return "no cluster answers there" if "stopped SparkContext" in told else told
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    raised = [line for line in lines if "Exception" in line or "Error" in line]
    return raised[0].rpartition("Exception: ")[2] if raised else first_line(error)


_KINDS: dict[pa.DataType, T.DataType] = {
    pa.bool_(): T.BooleanType(),
    pa.int8(): T.ByteType(),
    pa.int16(): T.ShortType(),
    pa.int32(): T.IntegerType(),
    pa.int64(): T.LongType(),
    pa.uint8(): T.ShortType(),
    pa.uint16(): T.IntegerType(),
    pa.uint32(): T.LongType(),
    pa.uint64(): T.DecimalType(20, 0),
    pa.float32(): T.FloatType(),
    pa.float64(): T.DoubleType(),
    pa.date32(): T.DateType(),
    pa.date64(): T.DateType(),
    pa.null(): T.IntegerType(),
}


def _stored(kind: pa.DataType) -> T.DataType:
    """As what Spark reads a column of a Parquet file; nanoseconds are plain numbers to it."""
    t = pa.types
    if t.is_dictionary(kind):
        return _stored(kind.value_type)
    if t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind):
        return T.StringType()
    if t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind):
        return T.ArrayType(_stored(kind.value_type))
    if t.is_timestamp(kind):
        if kind.unit == "ns":
            return T.LongType()
        return T.TimestampType() if kind.tz else T.TimestampNTZType()
    if t.is_decimal(kind) and kind.precision <= 38:
        return T.DecimalType(kind.precision, kind.scale)
    if kind in _KINDS:
        return _KINDS[kind]
    raise DataError(f'engine = "spark" cannot read a column of type {kind}; convert it')


def _readable(file: Path) -> str:
    """A path that Spark takes as it is: in paths to read it looks for patterns."""
    return "file://" + re.sub(r"([\[\]{}*?,\\])", r"\\\1", str(file))


def _column(field: pa.Field, *, checked: bool) -> Column:
    """A column as it was meant: nanoseconds are times; if ``checked``, bytes that are no text stop."""
    name, kind = "`" + field.name.replace("`", "``") + "`", _stored(field.type)
    if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
        return F.timestamp_micros(F.expr(f"{name} div 1000"))
    if checked and kind == T.StringType():
        return F.validate_utf8(F.col(name))
    if checked and kind == T.ArrayType(T.StringType()):
        return F.transform(F.col(name), F.validate_utf8)
    return F.col(name)
