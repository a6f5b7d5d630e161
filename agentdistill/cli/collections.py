"""`agentdistill collect` and `agentdistill export`: recovery traces on task folders, and in the formats of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from agentdistill.cli.progress import ConsoleWatcher

WHO = "MODEL@URL, the folder of a model, module:Name, file.py:Name, or a TOML table of settings."


def collect(
    tasks: Annotated[Path, typer.Option(help="The folder under which the task folders lie.")],
    student: Annotated[str, typer.Option(help=f"Who acts first: {WHO}")],
    teacher: Annotated[str, typer.Option(help="Who takes over: as the student.")],
    budget: Annotated[int, typer.Option(min=1, help="Tokens that the teacher may read and write, together.")],
    folder: Annotated[
        Path | None, typer.Option(help="Where the run is kept; the same command again resumes it.")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="A takeover recipe: detectors, takeover, curation.")] = None,
    detectors: Annotated[
        list[str],
        typer.Option("--detector", help="In place of the recipe's: a name, a table or file.py:Name; may be repeated."),
    ] = [],  # noqa: B006 (typer reads the default)
    tries: Annotated[int, typer.Option(min=1, help="Runs of the student on each task.")] = 4,
    split: Annotated[str, typer.Option(help="Tasks of this split: train, heldout, or all.")] = "train",
    tokenizer: Annotated[
        Path | None, typer.Option(help="Folder with the student's tokenizer, if the student has none here.")
    ] = None,
    sandbox: Annotated[str, typer.Option(help="Sandbox backend.")] = "bubblewrap",
    options: Annotated[list[str], typer.Option("--option", help="Of the backend: image=debian:12.")] = [],  # noqa: B006
    environment: Annotated[str, typer.Option(help="What runs the tasks; it takes their folder as `tasks`.")] = "",
    live: Annotated[int, typer.Option(min=1, help="Most episodes in flight.")] = 16,
    seed: Annotated[int, typer.Option(help="Decides all luck.")] = 0,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Collect verified recovery traces on task folders. The same command again goes on where the last one stopped."""
    from pydantic import ValidationError

    from agentdistill.cli.detectors import read_specs
    from agentdistill.collecting import CollectConfig
    from agentdistill.collecting import collect as begin
    from agentdistill.config import first_problem
    from agentdistill.errors import ConfigError
    from agentdistill.opening import read_actor
    from agentdistill.recipes import TakeoverRecipe, read_recipe
    from agentdistill.sandbox.loading import read_options

    settings: dict[str, object] = {
        "tasks": tasks,
        "student": read_actor(student, "--student"),
        "teacher": read_actor(teacher, "--teacher"),
        "budget": budget,
        "tries": tries,
        "split": split,
        "tokenizer": tokenizer,
        "sandbox": sandbox,
        "sandbox_options": read_options(options),
        "live": live,
        "seed": seed,
    }
    if environment:
        settings["environment"] = environment
    if recipe is not None:
        settings["recipe"] = found = read_recipe(recipe)
        if not isinstance(found, TakeoverRecipe):
            raise ConfigError(f"{recipe}: collecting needs a recipe with way = 'takeover', not {found.way!r}")
    try:
        config = CollectConfig.model_validate(settings)
        if detectors:
            values = config.recipe.model_dump() | {"detectors": tuple(read_specs(detectors).values())}
            config = config.model_copy(update={"recipe": TakeoverRecipe.model_validate(values)})
    except ValidationError as error:
        raise ConfigError(first_problem(error, CollectConfig)) from error
    console = Console(stderr=True)
    with ConsoleWatcher(console) as watch:
        done = begin(config, folder or Path("runs") / f"collect-{tasks.resolve().name}", watch)
    if as_json:
        typer.echo(done.model_dump_json())
        return
    refused = ", ".join(f"{count} {reason}" for reason, count in done.refused.items()) or "none"
    lost = f" ({done.lost:,} more may have been lost on the way)" if done.lost else ""
    for name, value in {
        "tasks": f"{done.tasks_tried} of {done.tasks} tried, {done.runs} runs of the student",
        "failed": f"{done.failed} runs; a divergence was found in {done.divergences}",
        "verified recoveries": f"{done.kept} of {done.takeovers} takeovers, on {done.tasks_kept} tasks",
        "teacher tokens": f"{done.teacher_input:,} read, {done.teacher_output:,} written of {done.budget:,}{lost}",
        "errored": f"{done.errored} episodes whose machinery broke; the same command again tries them anew",
        "not kept": refused,
        "ended": done.ended,
    }.items():
        typer.echo(f"{name:20} {value}")


def export(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of any run.")],
    form: Annotated[str, typer.Option("--format", help="atif, messages, trl or trl-dpo.")],
    out: Annotated[Path, typer.Option(help="A new folder for the data set.")],
    split_by: Annotated[str, typer.Option(help="task: no task is on both sides; none: all is for training.")] = "task",
    test_share: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the tasks for testing.")] = 0.1,
    parquet: Annotated[bool, typer.Option("--parquet", help="Parquet instead of JSON lines; needs pyarrow.")] = False,
    arms: Annotated[list[str], typer.Option("--arm", help="Of this arm only; may be given again.")] = [],  # noqa: B006
    tokenizer: Annotated[
        Path | None, typer.Option(help="Folder with the student's tokenizer, where the run does not know it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Write what a run has kept as a data set: with a card, and split by task."""
    from typing import cast, get_args

    from agentdistill.errors import ConfigError, nearest
    from agentdistill.exporting import FORMATS, Format, SplitBy
    from agentdistill.exporting import export as write

    for option, given, known in (("--format", form, FORMATS), ("--split-by", split_by, get_args(SplitBy))):
        if given not in known:
            raise ConfigError(f"{option} is one of {', '.join(known)}, not {given!r}.{nearest(given, known)}")
    done = write(
        run_folder,
        cast("Format", form),
        out,
        split_by=cast("SplitBy", split_by),
        test_share=test_share,
        parquet=parquet,
        arms=arms,
        tokenizer=tokenizer,
    )
    if as_json:
        typer.echo(json.dumps({"folder": str(out), "rows": done.rows, "refused": dict(done.refused)}))
        return
    rows = ", ".join(f"{count} rows of {side}" for side, count in done.rows.items())
    typer.echo(f"{out}: {rows}")
    if done.refused:
        typer.echo("left out: " + ", ".join(f"{count} {reason}" for reason, count in done.refused.items()))
