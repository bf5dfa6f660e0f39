"""One fit of ``python -m benchmarks gpu``, for profilers that watch every kernel.

``ncu --clock-control none --set detailed -s 16 -c 12 python -m benchmarks.one_fit medium``
"""

from __future__ import annotations

import argparse

from benchmarks.gpu import find_device
from benchmarks.gpu_peers import CASES, TINY_CASES, prepare_skmlp


def main() -> None:
    """Train for some epochs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.one_fit", description=__doc__)
    parser.add_argument("row", choices=CASES)
    parser.add_argument("--path", choices=["resident", "batched"], help="by default its own choice")
    parser.add_argument(
        "--blocks", type=int, default=0, help="per model; by default its own choice"
    )
    parser.add_argument("--precision", choices=["tf32", "bf16"])
    parser.add_argument("--epochs", type=int, default=2)
    arguments = parser.parse_args()
    cases = TINY_CASES if find_device().is_simulated else CASES
    training = prepare_skmlp(
        cases[arguments.row], "cuda", arguments.path, arguments.precision, arguments.blocks
    )
    print(training.run(arguments.epochs))


if __name__ == "__main__":
    main()
