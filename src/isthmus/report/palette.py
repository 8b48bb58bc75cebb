"""Colours of the pictures: names that the page's style sheet resolves, or fixed ones for images."""

from dataclasses import dataclass, fields
from typing import Final

from isthmus.evaluation import Verdict


@dataclass(frozen=True, slots=True)
class Palette:
    """One colour a meaning. Gains and hurt differ in hue and lightness, and always in shape too."""

    ink: str = "#1d2433"
    muted: str = "#5b6577"
    line: str = "#d9dee7"
    surface: str = "#ffffff"
    gains: str = "#0b7a75"
    unchanged: str = "#6b7688"
    hurt: str = "#c2410c"
    unmeasured: str = "#a3adbd"
    joint: str = "#1d4ed8"
    shared: str = "#b45309"
    isolated: str = "#6b7688"
    accent: str = "#1d4ed8"

    @property
    def verdicts(self) -> dict[Verdict, str]:
        """The colour of each verdict."""
        return {
            Verdict.gains: self.gains,
            Verdict.unchanged: self.unchanged,
            Verdict.hurt: self.hurt,
            Verdict.not_measurable: self.unmeasured,
        }

    @property
    def series(self) -> tuple[str, ...]:
        """Colours of models or losses, in their order; further ones repeat."""
        return (self.joint, self.shared, self.isolated, self.gains, self.hurt, self.ink)


LIGHT: Final = Palette()
DARK: Final = Palette(
    ink="#e6e9ef",
    muted="#a0aaba",
    line="#333c4b",
    surface="#151a23",
    gains="#3cc5b7",
    unchanged="#94a0b3",
    hurt="#ff8a4c",
    unmeasured="#67738a",
    joint="#7aa2ff",
    shared="#f0b04f",
    isolated="#94a0b3",
    accent="#7aa2ff",
)
PAGE: Final = Palette(**{field.name: f"var(--{field.name})" for field in fields(Palette)})
"""Custom properties of the page, so that dark, light and print need no second drawing."""

SHAPES: Final = {
    Verdict.gains: "triangle-up",
    Verdict.unchanged: "circle",
    Verdict.hurt: "triangle-down",
    Verdict.not_measurable: "diamond",
}


def properties(palette: Palette) -> str:
    """The palette as declarations of a style sheet: ``--ink: #1d2433; ...``."""
    return " ".join(f"--{field.name}: {getattr(palette, field.name)};" for field in fields(palette))
