"""Run a script of scikit-learn's with networks of skmlp's: ``python -m skmlp.accel script.py``.

The script, or the module after ``-m``, finds `skmlp.MLPClassifier` and `skmlp.MLPRegressor` in
`sklearn.neural_network` (see `skmlp.patch_sklearn`). All else is as if Python had run it: its
arguments, where it imports from, exit code and traceback.
"""

import argparse
import atexit
import builtins
import functools
import io
import os
import runpy
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from types import ModuleType, TracebackType
from typing import Any

from skmlp._base import BaseMLP
from skmlp._patching import patch_sklearn

COMMAND = "python -m skmlp.accel"
# Their frames are above those of the script.
ABOVE_SCRIPTS = {runpy.run_path.__code__.co_filename, __file__}


@dataclass
class Work:
    """What estimators of one class have done."""

    fits: int = 0
    seconds: float = 0.0
    devices: set[str] = field(default_factory=set)
    predictions: int = 0

    def __str__(self) -> str:
        where = f" on {' and '.join(sorted(self.devices))}" if self.devices else ""
        fits = f"{counted(self.fits, 'fit')} in {self.seconds:.2f} s{where}"
        return f"{fits}, {counted(self.predictions, 'prediction')}"


class Tally:
    """Counts what networks do in this process, and says so at its end."""

    def __init__(self) -> None:
        self._works: dict[str, Work] = {}
        self._lock = threading.Lock()
        self._thread = threading.local()
        self._process = os.getpid()

    def watch(self) -> None:
        """Count the fits and predictions of all estimators from now on."""
        for name, add in (("_fit", self._add_fit), ("_compute", self._add_prediction)):
            setattr(BaseMLP, name, self._counting(getattr(BaseMLP, name), add))

    def report(self) -> None:
        """Print one line to stderr."""
        if os.getpid() != self._process or sys.stderr is None:
            return  # a forked child
        works = "; ".join(f"{name}: {work}" for name, work in sorted(self._works.items()))
        nothing = "no network was fitted or asked for predictions in this process"
        print(f"skmlp.accel: {works or nothing}.", file=sys.stderr)

    def _counting(
        self, method: Callable[..., Any], add: Callable[[Work, Any, float], None]
    ) -> Callable[..., Any]:
        @functools.wraps(method)
        def counting(estimator: Any, *args: Any, **kwargs: Any) -> Any:
            if getattr(self._thread, "is_busy", False):  # a scorer predicts within a fit
                return method(estimator, *args, **kwargs)
            self._thread.is_busy = True
            start = time.perf_counter()
            try:
                result = method(estimator, *args, **kwargs)
            finally:
                self._thread.is_busy = False
            seconds = time.perf_counter() - start
            with self._lock:
                add(self._works.setdefault(type(estimator).__name__, Work()), estimator, seconds)
            return result

        return counting

    @staticmethod
    def _add_fit(work: Work, estimator: Any, seconds: float) -> None:
        work.fits += 1
        work.seconds += seconds
        work.devices.add(estimator.device_)

    @staticmethod
    def _add_prediction(work: Work, estimator: Any, seconds: float) -> None:
        work.predictions += 1


def counted(number: int, noun: str) -> str:
    """Return a number with a noun."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a script or module; the process is given over to it.

    Parameters
    ----------
    arguments : sequence of str or None, default=None
        Our options, then the script or ``-m`` and a module, then its arguments. None means those of
        the command line.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog=COMMAND,
        usage="%(prog)s [--verbose] script.py [arguments]\n"
        "       %(prog)s [--verbose] -m module [arguments]",
        description="Run a script or module with skmlp's networks in the place of scikit-learn's.",
    )
    parser.add_argument(
        "--verbose", action="store_true", help="print at the end what skmlp has computed"
    )
    # All that follows belongs to the script.
    is_target = [argument == "-m" or not argument.startswith("-") for argument in given]
    begin = is_target.index(True) if True in is_target else len(given)
    options, target = parser.parse_args(given[:begin]), given[begin:]
    is_module = target[:1] == ["-m"]
    if not target or target == ["-m"]:
        parser.error("the name of a module is missing" if is_module else "no script is given")
    if not is_module and not os.path.exists(target[0]):
        parser.exit(2, f"{COMMAND}: there is no file {target[0]!r}\n")
    patch_sklearn()
    if options.verbose:
        tally = Tally()
        tally.watch()
        atexit.register(tally.report)  # first, and so after all that the script registers
    sys.excepthook = without_frames_above(sys.excepthook)
    if is_module:
        sys.argv = target[1:]
        runpy.run_module(target[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = target
        if not sys.flags.safe_path:  # if it is set, Python puts no folder there
            sys.path[0] = folder_of(target[0])
        run_script(target[0])


def folder_of(script: str) -> str:
    """Return what Python searches first for a script's imports: its folder, or what it is."""
    path = os.path.realpath(script)
    return path if is_container(path) else os.path.dirname(path)


def is_container(path: str) -> bool:
    """Whether Python runs the ``__main__.py`` in it, of a folder or an archive."""
    return os.path.isdir(path) or zipfile.is_zipfile(path)


def run_script(script: str) -> None:
    """Run a script as ``__main__``, which it stays until the process has ended."""
    if is_container(script) or script.endswith(".pyc"):
        runpy.run_path(script, run_name="__main__")
        return
    path = os.path.abspath(script)  # as Python has it, in tracebacks too; runpy would not
    with io.open_code(path) as file:
        code = compile(file.read(), path, "exec", dont_inherit=True)
    module = ModuleType("__main__")
    module.__file__ = path
    module.__loader__ = SourceFileLoader("__main__", path)
    vars(module)["__builtins__"] = builtins
    sys.modules["__main__"] = module
    exec(code, vars(module))


Hook = Callable[[type[BaseException], BaseException, TracebackType | None], Any]


def without_frames_above(hook: Hook) -> Hook:
    """Return a hook for uncaught exceptions that leaves out what called the script."""

    def shortened(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        while traceback is not None and traceback.tb_frame.f_code.co_filename in ABOVE_SCRIPTS:
            traceback = traceback.tb_next
        # What is shown is the traceback that the exception itself has.
        hook(kind, error.with_traceback(traceback), traceback)

    return shortened


if __name__ == "__main__":
    main()
