"""A shop in which each domain likes colours of its own; whoever and whatever it is, is noise."""

import csv
import random

from tests.shop import preparation

COLOURS = ("red", "green", "blue", "black", "white", "grey")
LIKED = {
    "books": {"red", "green", "blue"},
    "games": {"red", "black", "white"},
    "tools": {"green", "black", "grey"},
    "toys": {"blue", "white", "grey"},  # as no other
    "twins": {"red", "black", "white"},  # as games
}
PREPARATION = preparation(
    extra="""
[[features]]
name = "colour"
role = "item"
""",
    of="colour",
)
COLUMNS = ("who", "what", "colour", "where", "when", "liked", "part")


def rows(domains, number, seed=0, noise=0.1):
    """Rows of these domains in turn; ``part`` is "even" or "odd", by the colour."""
    draw = random.Random(seed)
    made = []
    for place in range(number):
        domain, item = domains[place % len(domains)], draw.randrange(60)
        colour = COLOURS[item % len(COLOURS)]
        liked = (colour in LIKED[domain]) != (draw.random() < noise)
        part = "even" if COLOURS.index(colour) % 2 == 0 else "odd"
        user = f"u{draw.randrange(40)}"
        made.append((user, f"i{item}", colour, domain, place * 60, int(liked), part))
    return made


def write(path, made):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *made])
    return path
