"""The command line: ``python -m skmlp`` with ``warmup``, ``devices`` or ``playground``."""

import argparse
from collections.abc import Sequence

from skmlp._devices import show_devices
from skmlp._validation import DTYPES
from skmlp._warmup import warmup


def compute_capability(text: str) -> tuple[int, int]:
    """Read a compute capability such as "9.0"."""
    major, minor = text.split(".")
    return int(major), int(minor)


def port_number(text: str) -> int:
    """Read the number of a port; 0 is any that is free."""
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 65535, got {text!r}")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command."""
    parser = argparse.ArgumentParser(prog="python -m skmlp", description=__doc__)
    commands = parser.add_subparsers(title="commands", dest="command", required=True)
    command = commands.add_parser(
        "warmup",
        help="compile ahead what fits and predictions need",
        description="Compile ahead every kernel that fits and predictions can need.",
    )
    command.add_argument(
        "--dtype", choices=(*DTYPES, "both"), default="both", help="precision (default: both)"
    )
    command.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    command.add_argument(
        "--compute-capability",
        metavar="X.Y",
        type=compute_capability,
        help="the kind of GPU, where it is not that of this machine; an H100 has 9.0",
    )
    commands.add_parser(
        "devices",
        help="show where skmlp can compute",
        description="Show where skmlp can compute, and why CUDA cannot be used if it cannot.",
    )
    command = commands.add_parser(
        "playground",
        help="watch a network learn, in the browser",
        description="Serve a page, to this machine alone, that shows a network as it learns.",
    )
    command.add_argument(
        "--port", type=port_number, default=0, help="where to listen (default: a free port)"
    )
    command.add_argument("--no-browser", action="store_true", help="print the address alone")
    chosen = parser.parse_args(arguments)
    if chosen.command == "playground":
        # Whoever warms up, in an image say, needs none of it.
        from skmlp.playground.server import run_playground

        try:
            run_playground(chosen.port, opens_browser=not chosen.no_browser)
        except (ImportError, OSError) as error:
            parser.exit(1, f"{error}\n")
        return
    if chosen.command == "devices":
        show_devices()
        return
    try:
        result = warmup(
            None if chosen.dtype == "both" else chosen.dtype,
            device=chosen.device,
            compute_capability=chosen.compute_capability,
        )
    except (OSError, RuntimeError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    what = " and ".join(result.dtypes)
    if result.compiled:
        print(f"Compiled {len(result.compiled)} kernels for {what} in {result.seconds:.1f} s.")
    else:
        print(f"Nothing to compile for {what}: all kernels are there.")
    print(f"They are kept in {result.folder}.")


if __name__ == "__main__":
    main()
