"""Warnings that point at the user's line and obey the filters that scikit-learn's users wrote."""

import sys
import warnings
from types import FrameType
from typing import Any, NamedTuple

# What may stand between a user's line and a fit.
BETWEEN = {"skmlp", "sklearn", "joblib", "concurrent", "multiprocessing", "threading", "runpy"}
# Modules that a filter may name to reach our warnings, besides the user's own.
KNOWN_AS = ("skmlp", "sklearn.neural_network._multilayer_perceptron")


class Remark(NamedTuple):
    """A warning that is due, but not yet issued."""

    message: str
    category: type[Warning]


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning at the line that a user called from, across meta-estimators and workers.

    So it is shown once for each such line. A filter's ``module`` reaches it by the name of the
    user's module, as Python has it, by ``"skmlp"``, and by the module that holds scikit-learn's
    MLP, so that what silenced scikit-learn's warnings silences ours.
    """
    here = sys._getframe(1)
    # At the bottom of a worker there is no user: then it is said of the fit itself.
    frame = users_frame(here) or here
    own_module = str(frame.f_globals.get("__name__", "<string>"))
    warnings.warn_explicit(
        message,
        category,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=module_for_filters(message, category, frame.f_lineno, own_module),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


def users_frame(frame: FrameType | None) -> FrameType | None:
    """Return the innermost frame that belongs to none of the packages in between."""
    while frame is not None and package_of(frame) in BETWEEN:
        frame = frame.f_back
    return frame


def package_of(frame: FrameType) -> str:
    """Return the top-level package of a frame's code, also where that runs as ``__main__``."""
    spec = frame.f_globals.get("__spec__")
    name = getattr(spec, "name", None) or frame.f_globals.get("__name__", "")
    return str(name).partition(".")[0]


def module_for_filters(message: str, category: type[Warning], lineno: int, own_module: str) -> str:
    """Return the name under which the first filter that concerns a warning finds it.

    Python compares filters with one name only. Those before the first one that matches any of
    ours match none of them, so the order of filters keeps its meaning.
    """
    filters: list[Any] = list(warnings.filters)
    for _, text, filtered, module, line in filters:
        if not (issubclass(category, filtered) and line in (0, lineno) and fits(text, message)):
            continue
        for name in (own_module, *KNOWN_AS):
            if fits(module, name):
                return name
    return own_module


def fits(pattern: Any, text: str) -> bool:
    """Whether a filter's pattern, which may be None, a string or compiled, fits a text."""
    if pattern is None or isinstance(pattern, str):
        return pattern is None or pattern == text
    return pattern.match(text) is not None
