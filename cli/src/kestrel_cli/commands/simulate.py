"""The simulated world, from the command line. It belongs to the tests, so it runs in Kestrel's source folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from kestrel_cli.errors import USAGE, CommandFailed

_WORLD = Path("tests", "simulation", "__main__.py")


def register(app: typer.Typer) -> None:
    app.command("simulate")(simulate)


def simulate(
    seed: Annotated[int, typer.Option("--seed", min=0, help="The first seed.")] = 1,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many, counting up.")] = 1,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps with faults, before all has to rest.")] = 3000,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="How many processes share the seeds.")] = 1,
    without: Annotated[str, typer.Option("--without", help="Kinds of faults to leave out, with commas between.")] = "",
    trace: Annotated[bool, typer.Option("--trace", help="Print what happened, step by step.")] = False,
    go_on: Annotated[bool, typer.Option("--go-on", help="Run the other seeds after one failed.")] = False,
) -> None:
    """Run all services in one process on a simulated bus, clock and venue, and search for a schedule that breaks them.

    The seed decides everything: what is lost, doubled, late, killed. The same seed is the same history. A failure is
    made smaller, prints what led to it and the command that shows it again; the exit status is 1. Ctrl-C stops.

    [dim]Examples:[/]
      kestrel simulate --seed 7 --trace
      kestrel simulate --seeds 2000 --steps 5000 --jobs 2
    """
    root = Path.cwd()
    if not (root / _WORLD).is_file():
        raise CommandFailed(
            f"there is no {_WORLD.parent} here: the simulated world comes with Kestrel's source",
            next_step="run it in the folder that the source was cloned into",
            code=USAGE,
        )
    sys.path.insert(0, str(root))
    from tests.simulation.__main__ import main

    numbers = {"--seed": seed, "--seeds": seeds, "--steps": steps, "--jobs": jobs}
    arguments = [word for name, number in numbers.items() for word in (name, str(number))]
    arguments += ["--without", without]
    switches = {"--trace": trace, "--go-on": go_on}
    raise typer.Exit(main(arguments + [name for name, is_on in switches.items() if is_on]))
