"""Our classes in the place of scikit-learn's, wherever scripts and pickles look these up."""

import threading
from typing import Any

from skmlp._assembling import NAMES, own
from skmlp._sklearn_compat import network_modules

# Module and name of what was replaced -> scikit-learn's own class.
_replaced: dict[tuple[str, str], Any] = {}
_lock = threading.Lock()


def original(name: str) -> Any:
    """Return scikit-learn's class of this name, also while ours is in its place."""
    module = network_modules()[-1]
    with _lock:
        return _replaced.get((module.__name__, name), getattr(module, name))


def patch_sklearn() -> None:
    """Put our `MLPClassifier` and `MLPRegressor` in the place of scikit-learn's.

    From then on ``from sklearn.neural_network import MLPClassifier`` gives ours, in the code of
    others too, and pickles of scikit-learn's networks are loaded as ours. A script that was
    written for scikit-learn needs no other change; ``python -m skmlp.accel script.py`` needs none.

    Whoever has imported a class before keeps what they have: call this first. Instances of
    scikit-learn's own classes work on, but cannot be pickled while others have their names. Other
    processes that import scikit-learn by themselves are not patched; an estimator that is sent to
    them is the same there as here. Calling it again does nothing.

    See Also
    --------
    unpatch_sklearn : Undo it.
    from_sklearn : Take over a network that scikit-learn has fitted.

    Examples
    --------
    >>> import skmlp
    >>> skmlp.patch_sklearn()
    >>> from sklearn.neural_network import MLPClassifier
    >>> MLPClassifier is skmlp.MLPClassifier
    True
    >>> skmlp.unpatch_sklearn()
    """
    with _lock:
        for module in network_modules():
            for name in NAMES:
                ours, current = own(name), getattr(module, name)
                if current is not ours:
                    _replaced.setdefault((module.__name__, name), current)
                    setattr(module, name, ours)


def unpatch_sklearn() -> None:
    """Give `sklearn.neural_network` its own classes back; without a patch it does nothing.

    What was imported or made in the meantime stays ours.

    See Also
    --------
    patch_sklearn : What it undoes.

    Examples
    --------
    >>> import skmlp
    >>> skmlp.patch_sklearn()
    >>> skmlp.unpatch_sklearn()
    >>> from sklearn.neural_network import MLPClassifier
    >>> MLPClassifier is skmlp.MLPClassifier
    False
    """
    with _lock:
        for module in network_modules():
            for name in NAMES:
                theirs = _replaced.pop((module.__name__, name), None)
                # What others have put there since is theirs to take away.
                if theirs is not None and getattr(module, name) is own(name):
                    setattr(module, name, theirs)
