"""`agentdistill train`, `metrics` and `data`: training on its own, its course, and a look at what is trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from agentdistill.cli.progress import ConsoleWatcher

data = typer.Typer(no_args_is_help=True)

DATA = "The folder of any run, or what `export --format trl` or `trl-dpo` wrote: its folder, or one file of it."
MODEL = "The student: a folder, or a hub id."
WIDTH = 140
"""Columns of what is printed into a pipe or a file, which have no width of their own."""


def train(
    source: Annotated[Path | None, typer.Argument(metavar="DATA", help=DATA)] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where it is kept, the student in `model`; the same command again resumes it.")
    ] = None,
    model: Annotated[str, typer.Option(help=MODEL)] = "",
    loss: Annotated[
        str, typer.Option(help="A name, a table {name = ..., options = {...}} or file.py:name; pairs have dpo.")
    ] = "",
    teacher: Annotated[str, typer.Option(help="A model that a divergence asks: a folder, or a hub id.")] = "",
    config: Annotated[Path | None, typer.Option(help="A TOML file with all of this; flags go before it.")] = None,
    overrides: Annotated[list[str], typer.Option("--set", help="Override a config key: training.steps=200.")] = [],  # noqa: B006 (typer reads the default)
    arms: Annotated[list[str], typer.Option("--arm", help="Of a run: rows of this arm only; may be given again.")] = [],  # noqa: B006
    trackers: Annotated[
        list[str],
        typer.Option("--tracker", help="tensorboard, trackio, wandb, module:Name or file.py:Name; may be given again."),
    ] = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Train a student on the segments of a run or of an exported data set, and write a checkpoint anybody loads."""
    from agentdistill.config import override, read_values, validated
    from agentdistill.errors import ConfigError
    from agentdistill.finetuning import MODEL, FinetuneConfig, finetune, is_first
    from agentdistill.report.training import train_line

    if out is None:
        raise ConfigError("where to: give a folder with --out")
    values = read_values(config, []) if config else {}
    override(values, [f"loss={loss}"] if loss else [])
    for key, given in (("model", model), ("teacher", teacher)):
        if given:
            kept = values.get(key)
            values[key] = {**(kept if isinstance(kept, dict) else {}), "model": given}
    lists: dict[str, Any] = {"data": source and str(source), "arms": arms, "trackers": trackers}
    values |= {key: given for key, given in lists.items() if given}
    override(values, overrides)
    settings = validated(config, values, FinetuneConfig)
    with ConsoleWatcher(Console(stderr=True, quiet=not is_first())) as watch:
        done = finetune(settings, out, watch)
    if done is None:
        return
    if as_json:
        typer.echo(json.dumps({"checkpoint": str(out / MODEL), **done.model_dump(mode="json")}))
    else:
        typer.echo(f"{out / MODEL}: {train_line(done)}")


def metrics(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of any run, finished or not.")],
    as_json: Annotated[bool, typer.Option("--json", help="Every step of every stage.")] = False,
) -> None:
    """Print how the training of a run went, or goes: loss, gradient norm and speed, stage by stage."""
    from agentdistill.errors import StoreError
    from agentdistill.report.training import metrics_table
    from agentdistill.store import RunStore

    with RunStore.read(run_folder) as store:
        stages = store.metrics()
    if as_json:
        typer.echo(json.dumps({"stages": stages}))
        return
    if not stages:
        raise StoreError(f"the run in {run_folder} has not taken a step of training")
    console = Console()
    Console(width=None if console.is_terminal else WIDTH).print(metrics_table(stages))


@data.callback()
def look() -> None:
    """Look at what is trained on."""


@data.command("preview")
def preview(
    source: Annotated[Path, typer.Argument(metavar="DATA", help=DATA)],
    rows: Annotated[int, typer.Option(min=0, help="How many to show, spread evenly over all.")] = 3,
    model: Annotated[
        str, typer.Option(help=f"{MODEL} Only its tokenizer and settings are read; a run of the loop knows its own.")
    ] = "",
    pairs: Annotated[bool, typer.Option("--pairs", help="Of a run: its preference pairs.")] = False,
    arms: Annotated[list[str], typer.Option("--arm", help="Of a run: rows of this arm only; may be given again.")] = [],  # noqa: B006
    full: Annotated[bool, typer.Option("--full", help="Show long stretches without loss whole as well.")] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Show what a student would be trained on: which tokens carry loss, whose they are, and what is refused."""
    from agentdistill.errors import ConfigError
    from agentdistill.kept import Reader
    from agentdistill.opening import renderer_in
    from agentdistill.policies.local import Checkpoint
    from agentdistill.report.preview import legend, render_rows, row_facts
    from agentdistill.trainable import read_training_data, told, without_unfit
    from agentdistill.training.sampling import sides

    folder = Checkpoint(model=model).find() if model else None
    found = read_training_data(source, pairs=pairs, arms=arms, tokenizer=folder)
    reader = found.reader or (Reader(*renderer_in(folder)) if folder else None)
    if reader is None:
        raise ConfigError("whose tokens these are is not known: name the student (--model FOLDER)")
    tokenizer = reader.renderer.tokenizer
    found = without_unfit(found, reader.context, len(tokenizer))
    everything: Any = [*found.train, *found.test]
    shown = [everything[len(everything) * at // rows] for at in range(rows)] if rows < len(everything) else everything
    supervised = sum(side.supervised for side in sides(everything))
    length = sum(len(side.input_ids) for side in sides(everything))

    def decode(ids: Any) -> str:
        return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    if as_json:
        counts = {"train": len(found.train), "test": len(found.test), "refused": dict(found.refused)}
        tokens = {"tokens": length, "supervised_tokens": supervised}
        typer.echo(json.dumps({**counts, **tokens, "shown": [row_facts(row, decode) for row in shown]}))
        return
    console = Console(highlight=False, soft_wrap=True)
    colour = console.is_terminal and not console.no_color
    lines = [*render_rows(shown, decode, colour=colour, full=full), legend(colour)] if shown else []
    for line in [*lines, Text(told(found))]:
        console.print(line)
    console.print(f"{supervised:,} of {length:,} tokens carry loss ({supervised / max(1, length):.1%})")
