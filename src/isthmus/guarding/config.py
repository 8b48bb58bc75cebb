"""How a guard decides, what its run is known by, and how that is said in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from isthmus.evaluation import Comparison
from isthmus.evaluation.rules import Share
from isthmus.files import canonical, digest_of
from isthmus.schema import Frozen
from isthmus.store import Run

DECIDING: Final = {"valid": "the validation split", "test": "half of the test split's users"}
"""In words, the rows that decide."""


class GuardConfig(Frozen):
    """How a guard decides.

    ``domains``: guard these, whatever the test says of them; without any, those that are hurt.
    ``alpha``: rate of false alarms over all domains together. ``ways``: what may serve a guarded
    domain. ``split``: the rows that decide, "valid", or "test": then half of the users of the test
    split decide, and what changed is shown on the others.
    """

    domains: tuple[str, ...] = ()
    alpha: Share = 0.05
    ways: Literal["best", "own", "part"] = "best"
    split: Literal["valid", "test"] = "valid"


@dataclass(frozen=True, slots=True)
class Said:
    """How it was decided: the names of the runs, and the protocol in words."""

    config: GuardConfig
    names: dict[str, str]
    protocol: str

    @classmethod
    def of(cls, kept: Run, isolated: Run, config: GuardConfig, comparison: Comparison) -> "Said":
        """``comparison`` is that of both runs on the rows that decided."""
        names = {"joint": kept.name, "isolated": isolated.name}
        return cls(config, names, " ".join(_sentences(names, config, comparison)))


def _sentences(names: Mapping[str, str], config: GuardConfig, found: Comparison) -> list[str]:
    count = sum(row.p_value is not None for row in found.rows)
    rows = f"{sum(row.rows for row in found.rows):,} rows of {DECIDING[config.split]}"
    why = (
        f"A domain is guarded if on the {rows} {found.metric.upper()} of {names['joint']} is below "
        f"that of {names['isolated']} by more than chance: a two-sided paired test, users as "
        f"clusters, with Holm's correction over {count} domains, at alpha {config.alpha:g}."
    )
    how = {
        "best": f"Of its own model, and its own part of the joint one trained further, the better "
        f"on the {rows} serves it.",
        "own": "Its own model serves it.",
        "part": "Its own part of the joint model, trained further, serves it.",
    }[config.ways]
    shown = {"valid": "the test split", "test": "the other half of the test split's users"}
    return [
        "The guarded domains were named." if config.domains else why,
        how,
        f"Before and after are on rows of {shown[config.split]}, which decided nothing, with 95 % "
        "intervals; p-values are corrected over the guarded domains. One seed: the noise of "
        "training is not included.",
    ]


def identity_of(kept: Run, isolated: Run, config: GuardConfig) -> dict[str, Any]:
    """All that decides the result: the joint run's configuration, and what it is guarded with."""
    own = {key: isolated.config[key] for key in ("model", "settings")}
    return {
        **kept.config,
        "scope": "guarded",
        "guard": {
            **_origin(kept),
            "scope": kept.config["scope"],
            "isolated": {**_origin(isolated), **own},
            **config.model_dump(mode="json"),
        },
    }


def name_of(identity: Mapping[str, Any], kept: Run) -> str:
    """The joint run's name, and eight digits that stand for all that decides the result."""
    short = digest_of(canonical(identity)).sha256[:8]
    return f"{kept.name[:82]}-guarded-{short}"


def _origin(run: Run) -> dict[str, str]:
    return {"run": run.name, "weights": run.manifest.files["model.safetensors"].sha256}
