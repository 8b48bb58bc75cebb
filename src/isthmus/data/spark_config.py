"""Where Spark runs, for ``engine = "spark"``."""

from pydantic import field_validator

from isthmus.schema import Frozen


def check_engine(engine: str, given: set[str]) -> None:
    """Raises ValueError where ``spark`` is given for another engine."""
    if "spark" in given and engine != "spark":
        raise ValueError(f'spark: these settings belong to engine = "spark", not to "{engine}"')


class SparkSettings(Frozen):
    """The cluster and its settings; they say where rows are prepared, never what comes out.

    Attributes:
        master: ``local[*]`` (this machine), ``spark://host:7077``, ``yarn`` or ``k8s://...``.
        conf: settings of Spark by their own names, such as ``"spark.executor.memory" = "8g"``.
    """

    master: str = "local[*]"
    conf: dict[str, str] = {}

    @field_validator("conf", mode="before")
    @classmethod
    def _as_text(cls, values: object) -> object:
        """TOML has numbers and truth values, where Spark has texts."""
        if not isinstance(values, dict):
            return values
        return {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in values.items()
        }
