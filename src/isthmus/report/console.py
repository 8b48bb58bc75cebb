"""Tables as wide as the console allows, in characters that it can show."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from rich import box
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from isthmus.report import words

_ASCII: Final = str.maketrans(
    {words.MINUS: "-", words.NONE: "-", "±": "~", "▲": "+", "▼": "-", "…": "."}
)
_LEAST_NAME: Final = 20
"""A layout that leaves less than this for names gives way to a narrower one."""

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """A header and how to write one row's cell."""

    header: str
    cell: Callable[[Row], str | Text]
    left: bool = False


def print_table(
    console: Console, layouts: Sequence[Sequence[Column[Row]]], rows: Sequence[Row]
) -> None:
    """Print the first layout that fits; where no terminal limits the width, the first one whole.

    The first column of each layout holds names: the last layout shortens them as far as it must.
    """
    if not console.is_terminal:
        wide = Console(width=10_000, file=io.StringIO(), color_system=None)
        with wide.capture() as captured:
            wide.print(_table(console, layouts[0], rows))
        for line in captured.get().splitlines():
            console.print(Text(line.rstrip()), soft_wrap=True)
        return
    for columns in layouts:
        table = _table(console, columns, rows)
        unlimited = console.options.update(max_width=10_000, width=10_000)
        excess = Measurement.get(console, unlimited, table).maximum - console.width
        longest = max((cell_len(str(columns[0].cell(row))) for row in rows), default=0)
        room = longest - max(0, excess)
        if room >= min(longest, _LEAST_NAME) or columns is layouts[-1]:
            table.columns[0].max_width = max(room, 6)
            console.print(table)
            return


def say(console: Console, line: str, *, style: str = "") -> None:
    """Print one line (wrapped in a terminal, whole elsewhere); nothing for an empty one."""
    if line:
        text = _shown(console, Text(clean(line).plain, style=style))
        console.print(text, soft_wrap=not console.is_terminal)


def clean(text: str) -> Text:
    """Text as it is: no markup in it is obeyed and no control character reaches the terminal."""
    return Text("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))


def _table(console: Console, columns: Sequence[Column[Row]], rows: Sequence[Row]) -> Table:
    unicode = _unicode(console)
    table = Table(
        box=box.SIMPLE_HEAD if unicode else box.ASCII2,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for column in columns:
        table.add_column(
            _shown(console, Text(column.header)),
            justify="left" if column.left else "right",
            no_wrap=True,
            overflow="ellipsis" if unicode else "crop",
        )
    for row in rows:
        cells: list[RenderableType] = [_cell(console, column.cell(row)) for column in columns]
        table.add_row(*cells)
    return table


def _cell(console: Console, value: str | Text) -> Text:
    return _shown(console, value if isinstance(value, Text) else Text(value))


def _shown(console: Console, text: Text) -> Text:
    """The text itself, or what comes nearest to it where the console's encoding is a narrow one."""
    if _unicode(console):
        return text
    plain = text.plain.translate(_ASCII).encode(console.encoding, "replace")
    return Text(plain.decode(console.encoding), style=text.style)


def _unicode(console: Console) -> bool:
    return console.encoding.lower().startswith("utf")
