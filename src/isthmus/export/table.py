"""What ``isthmus export`` prints."""

from rich.console import Console

from isthmus.evaluation import DomainComparison, Interval
from isthmus.export.manifest import DomainGraph, ExportManifest, TableCost
from isthmus.report.console import Column, clean, print_table, say
from isthmus.report.words import NONE, bounds, number, p_value, signed

Row = tuple[str, DomainGraph]
KIB = 1024


def print_export(manifest: ExportManifest, console: Console) -> None:
    """Each graph, then sizes together, then what tables of less than 32 bits cost."""
    print_table(console, [_columns(manifest)], list(manifest.graphs.items()))
    console.print()
    graphs = {graph.file for graph in manifest.graphs.values()}
    whole = sum(digest.bytes for digest in manifest.files.values()) / KIB
    say(
        console,
        f"{len(graphs)} {'graph' if len(graphs) == 1 else 'graphs'} and what they share: "
        f"{whole:,.0f} KiB, of which embeddings in {manifest.tables}: "
        f"{manifest.table_bytes / KIB:,.0f} KiB",
        style="bold",
    )
    if manifest.cost is not None:
        _print_cost(manifest.cost, manifest.tables, console)


def _print_cost(cost: TableCost, tables: str, console: Console) -> None:
    """What tables of less than 32 bits cost in AUC, domain by domain and together."""
    comparison, digits = cost.comparison, 5
    columns: list[Column[DomainComparison]] = [
        Column("domain", lambda row: clean(row.domain), True),
        Column("test rows", lambda row: f"{row.rows:,}"),
        Column(f"AUC, {tables} − float32", lambda row: _change(row.difference, digits)),
        Column("p", lambda row: p_value(row.p_adjusted)),
    ]
    console.print()
    print_table(console, [columns], [row for row in comparison.rows if row.rows])
    console.print()
    ours, theirs = (number(value, digits) for value in cost.domain_auc)
    say(console, f"DomainAUC on test rows: {ours} with {tables}, {theirs} as trained", style="bold")
    if comparison.overall is not None:
        change = _change(comparison.overall, digits)
        say(console, f"the change: {change}, p {p_value(comparison.overall_p_value)}")
    say(console, comparison.protocol, style="dim")


def _change(interval: Interval | None, digits: int) -> str:
    if interval is None:
        return NONE
    return f"{signed(interval.value, digits)} {bounds(interval, digits, plus=True)}"


def _columns(manifest: ExportManifest) -> list[Column[Row]]:
    columns: list[Column[Row]] = [Column("domain", lambda row: clean(row[0]), True)]
    if any(graph.experts for graph in manifest.graphs.values()):
        columns += [
            Column("experts", lambda row: " ".join(str(len(level)) for level in row[1].experts)),
            Column("edges", lambda row: f"{row[1].edges} of {row[1].all_edges}"),
        ]
    columns += [
        Column("KiB", lambda row: f"{manifest.files[row[1].file].bytes / KIB:,.0f}"),
        Column("rows checked", lambda row: f"{row[1].rows:,}"),
        Column("differs by", lambda row: f"{row[1].difference:.1e}"),
    ]
    if manifest.tables != "float32":
        columns += [Column("tables move", lambda row: f"{row[1].table_difference:.1e}")]
    return columns
