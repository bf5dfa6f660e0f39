"""``python -m benchmarks COMMAND``: measure, print the tables, and save them where asked."""

from __future__ import annotations

import argparse
import sys

from benchmarks import (
    accuracy,
    activations,
    cold_start,
    fit,
    gpu,
    instructions,
    many,
    memory,
    paths,
    playground,
    predict,
    products,
    report,
    rich,
    search,
    small,
    solvers,
    startup,
    tabular,
    threads,
)

COMMANDS = {
    "fit": fit,
    "threads": threads,
    "rich": rich,
    "activations": activations,
    "solvers": solvers,
    "products": products,
    "small": small,
    "search": search,
    "many": many,
    "predict": predict,
    "startup": startup,
    "coldstart": cold_start,
    "memory": memory,
    "playground": playground,
    "accuracy": accuracy,
    "tabular": tabular,
    "gpu": gpu,
    "paths": paths,
    "instructions": instructions,
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with one subcommand per module of ``COMMANDS``."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--quick", action="store_true", help="a rough look, well below a minute")
    common.add_argument("--save", action="store_true", help="write benchmarks/results/*.json")
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        summary = (module.__doc__ or "").splitlines()[0]
        command = commands.add_parser(name, parents=[common], help=summary, description=summary)
        module.add_arguments(command)
    return parser


def subject_of(arguments: argparse.Namespace) -> str:
    """Return what the results are saved as.

    One of another subject must not take the place of the last comparison with others.
    """
    if getattr(arguments, "pilots", False):
        return "pilots"
    against = "-against" if getattr(arguments, "against", None) else ""
    return f"{arguments.command}{against}"


def main() -> None:
    """Run one command."""
    arguments = build_parser().parse_args()
    if report.LOAD_AT_START is not None and report.LOAD_AT_START > 0.5:
        print(f"The machine is busy (load {report.LOAD_AT_START:.1f}): figures will be off.",
              file=sys.stderr)  # fmt: skip
    try:
        tables = COMMANDS[arguments.command].run(arguments)
    except (FileNotFoundError, ModuleNotFoundError) as error:
        raise SystemExit(f"benchmarks {arguments.command}: {error}") from error
    for table in tables:
        print(report.render(table))
    if arguments.save and not getattr(COMMANDS[arguments.command], "SAVES_BY_ITSELF", False):
        print(f"saved to {report.save(subject_of(arguments), tables)}")


if __name__ == "__main__":
    main()
