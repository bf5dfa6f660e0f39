"""Activation functions with parameters of their own, for `activation`.

Those without have names: ``activation="gelu"``. A tuple has one for each hidden layer:
``activation=("relu", PReLU())``.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from skmlp._formulas import FormulaChoice, ranges
from skmlp.network.activations import ACTIVATIONS
from skmlp.network.custom import custom_activation
from skmlp.network.specs import Formula

__all__ = ["Custom", "LeakyReLU", "Maxout", "PReLU"]


class LeakyReLU(FormulaChoice):
    """Leaky rectified linear unit: ``z`` if it is positive, else ``negative_slope * z``.

    Parameters
    ----------
    negative_slope : float, default=0.01
        Slope for negative `z`.

    References
    ----------
    Maas, Hannun & Ng (2013), "Rectifier nonlinearities improve neural network acoustic models",
    ICML.

    Examples
    --------
    >>> from skmlp import MLPRegressor
    >>> from skmlp.activations import LeakyReLU
    >>> model = MLPRegressor(hidden_layer_sizes=(10, 5), activation=LeakyReLU(negative_slope=0.2))
    >>> model.set_params(activation__negative_slope=0.1).activation
    LeakyReLU(negative_slope=0.1)
    """

    _name = "leaky_relu"
    _parameter_constraints: ClassVar = ranges(ACTIVATIONS[_name].constants)

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope


class PReLU(FormulaChoice):
    """Parametric rectified linear unit: a leaky one whose slope each unit learns.

    The slopes begin with 0.25. `alpha` does not penalize them.

    References
    ----------
    He et al. (2015), "Delving deep into rectifiers", ICCV, eq. 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skmlp import MLPRegressor
    >>> from skmlp.activations import PReLU
    >>> X = np.linspace(-1, 1, 50).reshape(-1, 1)
    >>> y = np.abs(X.ravel())
    >>> model = MLPRegressor(activation=PReLU(), solver="lbfgs", random_state=0)
    >>> bool(model.fit(X, y).score(X, y) > 0.99)
    True
    """

    _name = "prelu"


class Maxout(FormulaChoice):
    """Maxout: each unit has several weighted inputs and takes the largest.

    The layer's coefficients have `pieces` columns per unit: first those of all units' first
    piece, then those of the second, and so on.

    Parameters
    ----------
    pieces : int, default=2
        Weighted inputs per unit, up to 64.

    References
    ----------
    Goodfellow et al. (2013), "Maxout networks", ICML.

    Examples
    --------
    >>> import numpy as np
    >>> from skmlp import MLPRegressor
    >>> from skmlp.activations import Maxout
    >>> X = np.linspace(-1, 1, 50).reshape(-1, 1)
    >>> model = MLPRegressor(hidden_layer_sizes=(3,), activation=Maxout(pieces=2), solver="lbfgs")
    >>> [coef.shape for coef in model.fit(X, abs(X.ravel())).coefs_]
    [(1, 6), (3, 1)]
    """

    _name = "maxout"
    _parameter_constraints: ClassVar = ranges(ACTIVATIONS[_name].constants)

    def __init__(self, pieces: int = 2) -> None:
        self.pieces = pieces


class Custom(FormulaChoice):
    """An activation function of your own, given as value and derivative of one number.

    Both are compiled. They are plain functions of one argument that consist of arithmetic,
    comparisons, conditions and calls of ``exp``, ``log``, ``sqrt``, ``tanh``, ``abs``, ``min``
    and ``max``, from whatever module (``np.exp``, ``math.exp``). They may call other such
    functions and refer to numbers outside of them, whose values at the time of the fit count.

    Parameters
    ----------
    value : callable
        ``value(z)``: the activation of a unit's weighted input `z`, a float.
    derivative : callable
        ``derivative(z)``: its derivative at `z`. Where it is not, as a surrogate for that of a
        step, training uses what it returns.

    Notes
    -----
    A fitted model is pickled with references to both functions, as pickle does: they must be
    importable where it is loaded, which a lambda is not.

    Examples
    --------
    >>> import numpy as np
    >>> from skmlp import MLPRegressor
    >>> from skmlp.activations import Custom
    >>> def bump(z):
    ...     return np.exp(-z * z)
    >>> def bump_derivative(z):
    ...     return -2 * z * np.exp(-z * z)
    >>> MLPRegressor(activation=Custom(bump, bump_derivative))
    MLPRegressor(activation=Custom(value=bump, derivative=bump_derivative))
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "value": [callable],
        "derivative": [callable],
    }

    def __init__(
        self, value: Callable[[float], float], derivative: Callable[[float], float]
    ) -> None:
        self.value = value
        self.derivative = derivative

    def formula(self) -> Formula:
        """Return the entry that the functions make.

        Raises
        ------
        ValueError
            If they consist of other things than can be compiled.
        """
        return Formula(custom_activation(self.value, self.derivative))
