"""What a guard is made from: a joint run, an isolated one of the same data, and the data itself."""

from collections.abc import Iterable
from pathlib import Path

from isthmus import reference
from isthmus.config import checked
from isthmus.data.prepared import Prepared
from isthmus.errors import ConfigError, DataError
from isthmus.experiment import run
from isthmus.progress import Reporter, quiet
from isthmus.store import DataRef, Run, Store


def opened_data(kept: Run, data: Path | None) -> Prepared:
    """The prepared data of a run: in ``data``, or where ``isthmus prepare`` puts it by default.

    Raises:
        DataError: there is none. MismatchError: it is not what the run was trained on.
    """
    place = data or Path("prepared") / kept.data.name
    if data is None and not place.exists():
        raise DataError(
            f"run {kept.name!r} is of the data {kept.data.name!r}, which is not in {place}; say "
            "where it is with --data"
        )
    prepared = Prepared.open(place)
    kept.require(prepared.schema, DataRef(name=prepared.manifest.name, digest=prepared.digest))
    return prepared


def isolated_run(kept: Run, prepared: Prepared, *, reporter: Reporter = quiet) -> Run:
    """One model a domain, beside the joint run: what ``isthmus share`` trains where nothing is said.

    It has the joint run's seed and training. One that is there is taken.
    """
    refuse(kept)
    config = checked(
        {
            "data": str(prepared.path),
            **{key: kept.config[key] for key in ("model", "settings", "train", "seed")},
        },
        f"run {kept.name!r}",
    )
    wanted = config.rival(config.share.isolated, "isolated")
    return run(wanted, Store(kept.path.parent), reporter=reporter)


def refuse(kept: Run, domains: Iterable[str] = ()) -> None:
    """Raise ConfigError, saying why, unless this is a finished joint run of a network, of these domains."""
    scope = kept.config["scope"]
    if not kept.finished:
        raise ConfigError(
            f"run {kept.name!r} is not finished; the command that began it goes on with it"
        )
    if scope == "guarded":
        origin = kept.config["guard"]["run"]
        raise ConfigError(
            f"run {kept.name!r} is guarded already; guard the joint run that it was made of, "
            f"{origin!r}, with other options"
        )
    if scope == "isolated":
        raise ConfigError(
            f"run {kept.name!r} is isolated: its domains share nothing that could hurt them; guard "
            "a joint run, and give this one as --isolated"
        )
    if kept.config["model"] in reference.names():
        raise ConfigError(
            f"run {kept.name!r} is of {kept.config['model']!r}, a reference; guarded are networks"
        )
    if lineage := kept.manifest.lineage:
        raise ConfigError(
            f"domains of run {kept.name!r} came or went after training, and no isolated run has them; "
            f"guard the run that it was made of, {lineage[0].parent!r}"
        )
    if strange := [name for name in domains if name not in kept.schema.domains]:
        known = kept.schema.domains
        more = f" and {len(known) - 8} more" if len(known) > 8 else ""
        raise ConfigError(
            f"no domain {', '.join(map(repr, strange))} in {kept.data.name!r}; it has: "
            f"{', '.join(known[:8])}{more}"
        )


def refuse_pair(kept: Run, isolated: Run, domains: Iterable[str]) -> None:
    """Raise unless the runs belong together and the data has these domains.

    Raises:
        ConfigError: the second is no finished isolated run, one is a ranker's and the other a
            retriever's, or a domain is unknown. MismatchError: they are of different data.
    """
    refuse(kept, domains)
    if isolated.config["scope"] != "isolated" or not isolated.finished:
        state = isolated.config["scope"] if isolated.finished else "unfinished"
        raise ConfigError(
            f"run {isolated.name!r} is {state}; expected a finished run of scope 'isolated', as "
            "`isthmus share` trains it"
        )
    if kept.of_items != isolated.of_items:
        kinds = ["retriever" if one.of_items else "ranker" for one in (kept, isolated)]
        raise ConfigError(
            f"run {kept.name!r} is a {kinds[0]}'s and {isolated.name!r} a {kinds[1]}'s; guard a "
            f"{kinds[0]} with isolated {kinds[0]}s"
        )
    isolated.require(kept.schema, kept.data)
