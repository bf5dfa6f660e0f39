"""Ctrl-C during a fit: the first one ends the fit, a second one soon after ends the program."""

import time

SECONDS_TO_INSIST = 5.0


class InterruptPolicy:
    """Decides whether a `KeyboardInterrupt` ends only the running fit.

    A search fits many models one after the other. Were every Ctrl-C to end one fit only, the
    search could not be stopped.
    """

    def __init__(self) -> None:
        self._last = float("-inf")

    def ends_only_this_fit(self) -> bool:
        now = time.monotonic()
        insists = now - self._last < SECONDS_TO_INSIST
        self._last = now
        return not insists


POLICY = InterruptPolicy()
