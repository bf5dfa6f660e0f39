"""Initializers as objects, which both estimators take as their `init` in place of names."""

from typing import Any

from skmlp._formulas import FormulaChoice, formula_of, name_of
from skmlp.network.initializers import INITIALIZERS
from skmlp.network.specs import Formula

__all__ = ["GlorotUniform", "HeNormal"]


class GlorotUniform(FormulaChoice):
    """Uniform draws within bounds by Glorot and Bengio, as ``init='glorot_uniform'``.

    Weights and intercepts of a layer lie within ``sqrt(6 / (fan_in + fan_out))`` of zero, or
    ``sqrt(2 / (fan_in + fan_out))`` with ``activation='logistic'``, exactly as in scikit-learn.

    References
    ----------
    Glorot & Bengio (2010), "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.initializers import GlorotUniform
    >>> MLPClassifier(init=GlorotUniform())
    MLPClassifier(init=GlorotUniform())
    """

    _name = "glorot_uniform"


class HeNormal(FormulaChoice):
    """Normal draws by He and others, for rectifiers, as ``init='he_normal'``.

    The weights of a layer have mean zero and the standard deviation ``sqrt(gain / fan_in)``, so
    that layer after layer signals keep their size; intercepts are zero. The gain is 2 for
    rectifiers such as relu and its kin, which take away half of the signal, ``2 / (1 +
    negative_slope ** 2)`` for leaky ones, and 1 for 'identity', 'logistic', 'tanh' and `Maxout`;
    the output layer has that of the last hidden layer.

    References
    ----------
    He, Zhang, Ren & Sun (2015), "Delving deep into rectifiers: surpassing human-level performance
    on ImageNet classification", ICCV, eq. 10 and 15.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.initializers import HeNormal
    >>> MLPClassifier(init=HeNormal())
    MLPClassifier(init=HeNormal())
    """

    _name = "he_normal"


CLASSES = (GlorotUniform, HeNormal)


def init_formula(init: Any) -> Formula:
    """Return the entry of the registry of initializers that a name or an object stands for.

    Raises
    ------
    ValueError
        If there is none.
    """
    name = name_of(init)
    if name not in INITIALIZERS:
        raise ValueError(f"init must be one of {sorted(INITIALIZERS)}, got {init!r}.")
    return formula_of(init, INITIALIZERS[name].constants)
