"""What ``verbose=2`` shows of a fit: a bar where there is a terminal and rich, else lines."""

import importlib
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

from skmlp.training.listening import EpochEnd, Listener

BAR = 2  # of `verbose`: exactly this, because scikit-learn's users write 10 for lines
SECONDS_PER_LINE = 1.0


def draws_bar(estimator: Any) -> bool:
    """Whether `verbose` asks for a bar, instead of lines as scikit-learn prints them."""
    return type(estimator.verbose) is int and estimator.verbose == BAR


def progress_of(estimator: Any, max_iter: int) -> AbstractContextManager[Listener | None]:
    """Return a listener that shows the progress of a fit, if `verbose` asks for it.

    As a context manager: it is done with when the fit is, however that ends.
    """
    if not draws_bar(estimator):
        return nullcontext()
    return live_bar(max_iter) or Lines(max_iter)


def live_bar(max_iter: int) -> "Bar | None":
    """Return a bar; None without rich or a terminal, or where something else is drawn.

    In a notebook rich draws by ipywidgets; without these it would warn, and draw nothing.
    """
    try:
        from rich.console import Console
        from rich.errors import LiveError
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    except ImportError:
        return None
    console = Console()
    if console.is_jupyter:
        try:
            importlib.import_module("ipywidgets")
        except ImportError:
            return None
    elif not console.is_terminal:
        return None
    columns = [TextColumn("Epoch"), MofNCompleteColumn(), BarColumn()]
    progress = Progress(*columns, TextColumn("{task.description}"), console=console)
    try:
        progress.start()
    except LiveError:
        return None
    return Bar(max_iter, progress)


def described(end: EpochEnd, max_iter: int) -> str:
    """Return an epoch in words, and how much time is left at most."""
    score = "" if end.validation_score is None else f", score {end.validation_score:.6g}"
    left = max_iter - end.number
    # As if all other epochs took as long as those so far.
    rest = f", at most {end.seconds / end.number * left:.0f} s left" if left > 0 else ""
    return f"loss {end.loss:.6g}{score}, {end.seconds:.1f} s{rest}"


class Bar:
    """Draws a bar."""

    def __init__(self, max_iter: int, progress: Any) -> None:
        self._max_iter = max_iter
        self._progress = progress
        self._task = progress.add_task("", total=max_iter)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.refresh()  # which `stop` leaves out in a notebook
        self._progress.stop()

    def begins(self) -> None:
        """There is nothing to draw of what has only begun."""

    def ended(self, end: EpochEnd) -> bool:
        """Draw how far the fit is."""
        text = described(end, self._max_iter)
        self._progress.update(self._task, completed=end.number, description=text)
        return False


class Lines:
    """Prints a line at most once in a second, and one at the end."""

    def __init__(self, max_iter: int) -> None:
        self._max_iter = max_iter

    def __enter__(self) -> Self:
        self._last = time.monotonic()
        self._unsaid: EpochEnd | None = None
        return self

    def __exit__(self, *exception: object) -> None:
        self._say()

    def begins(self) -> None:
        """There is nothing to print of what has only begun."""

    def ended(self, end: EpochEnd) -> bool:
        """Print a line if the last one is old enough."""
        self._unsaid = end
        if time.monotonic() - self._last >= SECONDS_PER_LINE:
            self._say()
        return False

    def _say(self) -> None:
        if self._unsaid is not None:
            text = described(self._unsaid, self._max_iter)
            print(f"Epoch {self._unsaid.number} of at most {self._max_iter}: {text}", flush=True)
        self._unsaid, self._last = None, time.monotonic()
