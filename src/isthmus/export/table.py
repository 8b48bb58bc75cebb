"""What ``isthmus export`` prints."""

from rich.console import Console

from isthmus.export.manifest import DomainGraph, ExportManifest
from isthmus.report.console import Column, clean, print_table, say
from isthmus.report.terminal import print_comparison
from isthmus.report.words import number

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
        print_comparison(manifest.cost.comparison, console, names=(manifest.tables, "float32"))
        ours, theirs = (number(value, 5) for value in manifest.cost.domain_auc)
        say(console, f"DomainAUC on test rows: {ours} with {manifest.tables}, {theirs} as trained")


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
