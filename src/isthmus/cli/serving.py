"""Commands that serve what was trained."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from isthmus.cli.app import app, open_run
from isthmus.errors import ConfigError
from isthmus.progress import ConsoleReporter


@app.command()
def pack(
    run: Annotated[Path, typer.Argument(help="Directory of a finished run.")],
    data: Annotated[Path, typer.Option(help="The prepared data that it was trained on.")],
) -> None:
    """Keep in a run what serving needs of its data, so that it can be served without it."""
    from isthmus.data.prepared import Prepared
    from isthmus.service import pack as keep

    keep(open_run(run), Prepared.open(data))
    typer.echo(f"packed: {run}")


@app.command()
def recommend(
    runs: Annotated[list[Path], typer.Argument(help="A retriever's run, a ranker's, or both.")],
    user: Annotated[str | None, typer.Option(help="For this user.")] = None,
    users: Annotated[
        Path | None, typer.Option(help="An id a line, or requests as JSONL or Parquet.")
    ] = None,
    domain: Annotated[list[str] | None, typer.Option(help="Of this domain; else of all.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many items.")] = 10,
    history: Annotated[
        Path | None, typer.Option(help="Newer events: user, item, domain, time; JSONL or Parquet.")
    ] = None,
    context: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A feature of the context.")
    ] = None,
    exclude_seen: Annotated[bool, typer.Option(help="Nothing that the user had.")] = False,
    explain: Annotated[bool, typer.Option(help="Say why.")] = False,
    out: Annotated[Path | None, typer.Option(help="Replies go here: .jsonl or .parquet.")] = None,
) -> None:
    """Recommend items, as the service would, to one user or to many."""
    import torch

    from isthmus.service import Pipeline, Request, batch

    if (user is None) == (users is None):
        raise ConfigError("give either --user ID or --users FILE")
    said: dict[str, Any] = {"k": k, "domains": tuple(domain or ())}
    said |= {"exclude_seen": exclude_seen, "explain": explain, "context": _context(context or [])}
    if users is not None:
        asked = list(batch.requests(users, Request(**said)))
    else:
        asked = [batch.request({"user": user, **said}, "the options")]
    source = batch.FileHistory(history) if history is not None else None
    torch.set_num_threads(
        1
    )  # as the service: more threads cost a small request more than they save
    pipeline = Pipeline.load(runs)
    replies = batch.recommend_all(pipeline, asked, history=source, reporter=ConsoleReporter())
    if out is not None:
        typer.echo(f"{batch.write(replies, out):,} replies: {out}")
        return
    for request, reply in replies:
        if user is None:
            typer.echo(batch.as_json(request, reply))
        else:
            _print(reply)


def _print(reply: Any) -> None:
    table = Table("", "item", "domain", "score", "retrieved", "its rank", box=None)
    for one in reply.items:
        retrieved = "" if one.retrieval_score is None else f"{one.retrieval_score:.4f}"
        score = "" if one.score is None else f"{one.score:.4f}"
        table.add_row(
            f"{one.rank}", one.item, one.domain, score, retrieved, f"{one.retrieval_rank or ''}"
        )
        for event in (one.why.events if one.why is not None else ())[:3]:
            table.add_row(
                "", f"  {event.event.item}", event.event.domain, "", f"{event.weight:+.4f}"
            )
    Console().print(table)
    flags = reply.flags
    if flags.unknown_user:
        typer.echo("unknown user")
    for what in ("unknown_domains", "unknown_items", "misplaced_items", "unknown_context"):
        if names := getattr(flags, what):
            typer.echo(f"{what.replace('_', ' ')}: {', '.join(names)}")
    if flags.fallback:
        typer.echo(f"fallback: {flags.fallback}")
    if reply.fewer:
        typer.echo(reply.fewer)


def _context(pairs: list[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--context {pair!r}: expected name=value")
        found[name] = value
    return found
