"""A small shop in files of one's own: for tests that begin with a CSV and its TOML."""

DOMAINS = ("books", "games", "tools")


def preparation(*, extra="", of="what"):
    """The TOML of ``shop.csv``; ``extra`` are more features, ``of`` is what histories are of."""
    return f"""
name = "shop"
files = ["shop.csv"]

[columns]
user = "who"
item = "what"
domain = "where"
time = "when"
label = "liked"

[[features]]
name = "who"
role = "user"

[[features]]
name = "what"
role = "item"
{extra}
[[features]]
name = "recent"
kind = "history"
of = "{of}"
role = "user"
"""


def visits(number, items):
    """(place, user, item, domain, liked) of so many rows: 60 users, domains in turn.

    Whether an item is liked depends on the domain, but for noise in a fifth of the rows.
    """
    for i in range(number):
        user, item, domain = i * 7 % 60, i * 11 % items, i % 3
        noise = (i * 2654435761 >> 8) % 10 < 2
        yield i, user, item, domain, int(((item + domain) % 3 == 0) != noise)


def write(folder, lines, toml):
    """The files of a shop, ``lines`` those of the CSV: the path of its TOML."""
    (folder / "shop.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "shop.toml").write_text(toml, encoding="utf-8")
    return folder / "shop.toml"
