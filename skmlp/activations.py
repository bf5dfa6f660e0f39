"""Activation functions with parameters of their own, for `activation`.

Those without have names: ``activation="mish"``. A tuple has one for each hidden layer:
``activation=("relu", PReLU())``. `evaluate` computes any of them.
"""

from collections.abc import Callable
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt

from skmlp._choices import Choice, OneOf, text_of
from skmlp._formulas import FormulaChoice, formula_of, ranges
from skmlp.network.activations import (
    ACTIVATIONS,
    ALIASES,
    BLENDS,
    CUSTOM_ACTIVATIONS,
    Activation,
    activation_entry,
    blend_of,
    blended_by,
)
from skmlp.network.custom import custom_activation
from skmlp.network.parameters import FloatArray
from skmlp.network.specs import Formula

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "Blend",
    "Custom",
    "LeakyReLU",
    "Logistic",
    "Maxout",
    "PReLU",
    "Softplus",
    "evaluate",
]


def resolved(name: str) -> str:
    """Return the name of an entry, which may be written by another one."""
    return ALIASES.get(name, name)


class ActivationChoice(FormulaChoice):
    """Base of the objects for `activation`."""

    def formula(self) -> Formula:
        """Return the entry that it stands for, with the values of its constants.

        Raises
        ------
        ValueError
            If there is none.
        """
        return formula_of(self, activation_entry(self._name).constants)


class LeakyReLU(ActivationChoice):
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


class PReLU(ActivationChoice):
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


class Maxout(ActivationChoice):
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


class ELU(ActivationChoice):
    """Exponential linear unit: ``z`` if it is positive, else ``alpha * (exp(z) - 1)``.

    Parameters
    ----------
    alpha : float, default=1.0
        What it tends to for very negative `z`, with the other sign; not negative.

    References
    ----------
    Clevert, Unterthiner & Hochreiter (2016), "Fast and accurate deep network learning by
    exponential linear units", ICLR, arXiv:1511.07289.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.activations import ELU
    >>> MLPClassifier(activation=ELU(alpha=0.5))
    MLPClassifier(activation=ELU(alpha=0.5))
    """

    _name = "elu"
    _parameter_constraints: ClassVar = ranges(ACTIVATIONS[_name].constants)

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha


class CELU(ActivationChoice):
    """ELU without a kink, whatever `alpha`: below zero it is ``alpha * (exp(z / alpha) - 1)``.

    Parameters
    ----------
    alpha : float, default=1.0
        What it tends to for very negative `z`, with the other sign; positive.

    References
    ----------
    Barron (2017), "Continuously differentiable exponential linear units", arXiv:1704.07483.

    Examples
    --------
    >>> from skmlp.activations import CELU
    >>> CELU(alpha=2)
    CELU(alpha=2)
    """

    _name = "celu"
    _parameter_constraints: ClassVar = ranges(ACTIVATIONS[_name].constants)

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha


class Softplus(ActivationChoice):
    """Smooth rectifier: ``log(1 + exp(beta * z)) / beta``.

    Parameters
    ----------
    beta : float, default=1.0
        The larger, the closer to relu; positive.

    References
    ----------
    Dugas et al. (2000), "Incorporating second-order functional knowledge for better option
    pricing", NIPS.

    Examples
    --------
    >>> from skmlp.activations import Softplus, evaluate
    >>> value, derivative = evaluate(Softplus(beta=10), [-1, 0, 1])
    >>> value.round(3), derivative.round(3)
    (array([0.   , 0.069, 1.   ]), array([0. , 0.5, 1. ]))
    """

    _name = "softplus"
    _parameter_constraints: ClassVar = ranges(ACTIVATIONS[_name].constants)

    def __init__(self, beta: float = 1.0) -> None:
        self.beta = beta


class Logistic(ActivationChoice):
    """Logistic function of a slope and a threshold: ``1 / (1 + exp(-slope * (z - threshold)))``.

    A weight and an intercept can do the same, so a network learns what it learns without; where
    it starts, and the size of its steps, differ.

    Parameters
    ----------
    slope : float, default=1.0
        How steep it is. Its derivative at the threshold is a quarter of that.
    threshold : float, default=0.0
        Where the value is one half.

    Examples
    --------
    >>> from skmlp.activations import Logistic, evaluate
    >>> evaluate(Logistic(slope=2, threshold=1), [0, 1, 2])[0].round(3)
    array([0.119, 0.5  , 0.881])
    """

    _name = "scaled_logistic"
    _parameter_constraints: ClassVar = ranges(ACTIVATIONS[_name].constants)

    def __init__(self, slope: float = 1.0, threshold: float = 0.0) -> None:
        self.slope = slope
        self.threshold = threshold


class GELU(ActivationChoice):
    """Gaussian error linear unit: ``z * P(z)`` with the standard normal distribution `P`.

    Parameters
    ----------
    approximate : bool, default=False
        Whether to compute ``z / 2 * (1 + tanh(sqrt(2 / pi) * (z + 0.044715 * z ** 3)))`` instead,
        as networks trained elsewhere may have it. It differs by less than 0.0005.

    References
    ----------
    Hendrycks & Gimpel (2016), "Gaussian error linear units", arXiv:1606.08415.

    Examples
    --------
    >>> from skmlp.activations import GELU, evaluate
    >>> float(evaluate(GELU(), 1.0)[0]), float(evaluate(GELU(approximate=True), 1.0)[0])
    (0.84134..., 0.84119...)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {"approximate": ["boolean"]}

    def __init__(self, approximate: bool = False) -> None:
        self.approximate = approximate

    def formula(self) -> Formula:
        """Return the entry of the exact formula or of the other one."""
        return Formula("gelu_tanh" if self.approximate else "gelu")


class Blend(ActivationChoice):
    """Parametric activation: ``z + blend * (f(z) - z)``, where each unit learns its `blend`.

    All start with 1, which is the activation `f` itself; 0 is the identity. `alpha` does not
    penalize them.

    Parameters
    ----------
    activation : str or object of `skmlp.activations`, default='selu'
        The activation `f`, any that has no learned numbers and takes one weighted input.

    References
    ----------
    Holzmüller, Grinsztajn & Steinwart (2024), "Better by default: strong pre-tuned MLPs and boosted
    trees on tabular data", NeurIPS, arXiv:2407.04491: parametric activations of RealMLP, which
    takes 'selu' for classes and 'mish' for numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from skmlp import MLPRegressor
    >>> from skmlp.activations import Blend
    >>> X = np.linspace(-1, 1, 50).reshape(-1, 1)
    >>> model = MLPRegressor(activation=Blend("mish"), solver="lbfgs", random_state=0)
    >>> bool(model.fit(X, abs(X.ravel())).score(X, abs(X.ravel())) > 0.99)
    True
    """

    _parameter_constraints: ClassVar = {
        "activation": [
            OneOf(
                {name for name in (*ACTIVATIONS, *ALIASES) if blend_of(resolved(name)) in BLENDS},
                (CELU, ELU, GELU, LeakyReLU, Logistic, Softplus),
            )
        ]
    }

    def __init__(self, activation: str | FormulaChoice = "selu") -> None:
        self.activation = activation

    def formula(self) -> Formula:
        """Return the entry of the blend."""
        of = activation_formula(self.activation)
        return Formula(blend_of(of.name), of.constants)


class Custom(ActivationChoice):
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


OBJECTS = (Blend, CELU, Custom, ELU, GELU, LeakyReLU, Logistic, Maxout, PReLU, Softplus)


def activation_formula(choice: str | FormulaChoice) -> Formula:
    """Return what a name, or an object, stands for."""
    if isinstance(choice, ActivationChoice):
        return choice.formula()
    assert isinstance(choice, str)
    name = resolved(choice)
    return formula_of(name, activation_entry(name).constants)


def choice_of(formula: Formula) -> str | FormulaChoice:
    """Return how users write an activation that is not their own: by its name, or by an object."""
    if of := blended_by(formula.name):
        return Blend(choice_of(Formula(of, formula.constants)))
    constants = activation_entry(formula.name).constants
    if formula.constants == tuple(constant.default for constant in constants):
        return formula.name
    cls: Any
    [cls] = [c for c in OBJECTS if vars(c).get("_name") == formula.name]
    values = zip(constants, formula.constants, strict=True)
    return cast(FormulaChoice, cls(**{c.name: int(v) if c.whole else v for c, v in values}))


def written(formula: Formula) -> str:
    """Return what users write for an activation."""
    return "Custom(...)" if formula.name in CUSTOM_ACTIVATIONS else text_of(choice_of(formula))


def evaluate(activation: str | FormulaChoice, z: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Compute an activation and its derivative, number by number in plain Python.

    Parameters
    ----------
    activation : str or object of `skmlp.activations`
        Any that `activation` takes but maxout. What units learn is where it starts.
    z : array-like
        Weighted inputs, of any shape. The softmax is that of each row.

    Returns
    -------
    value : ndarray of float64, of the shape of `z`
    derivative : ndarray of float64, of the shape of `z`
        What training takes for the derivative: that of 'step' is a surrogate. The softmax has one
        more axis: element ``[..., j, k]`` is the derivative of value `j` by ``z[..., k]``.

    Raises
    ------
    ValueError
        If there is no such activation, or it takes several weighted inputs.

    Examples
    --------
    >>> from skmlp.activations import evaluate
    >>> value, derivative = evaluate("relu", [-2, 0.5, 3])
    >>> value
    array([0. , 0.5, 3. ])
    >>> derivative
    array([0., 1., 1.])
    """
    if isinstance(activation, Choice):
        activation.check("activation")
    formula = activation_formula(activation)
    entry = activation_entry(formula.name)
    if entry.pieces is not None:
        raise ValueError(
            f"activation={activation!r} is the largest of several weighted inputs, and cannot be "
            "evaluated at one. Use np.max."
        )
    inputs = np.asarray(z, dtype=np.float64)
    numbers = (*formula.constants, *(learned.initial for learned in entry.learned))
    with np.errstate(all="ignore"):
        if entry.takes_whole_rows:
            return evaluate_rows(entry, inputs)
        value = element_by_element(entry.value, inputs, numbers)
        argument = inputs if entry.derivative_takes_input else value
        return value, element_by_element(entry.derivative, argument, numbers)


def element_by_element(
    formula: Callable[..., float], argument: FloatArray, numbers: tuple[float, ...]
) -> FloatArray:
    result = np.vectorize(formula, otypes=[np.float64])(argument, *numbers)
    return np.asarray(result)


def evaluate_rows(entry: Activation, inputs: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the values of rows, and the matrix of derivatives of each."""
    value = inputs.copy()
    rows = value.reshape(-1, value.shape[-1])  # a view: a copy is contiguous
    for row in rows:
        entry.value(row)
    derivative = np.empty((*value.shape, value.shape[-1]))
    for row, matrix in zip(rows, derivative.reshape(-1, *derivative.shape[-2:]), strict=True):
        matrix[...] = np.eye(len(row))
        for by_one_value in matrix:
            entry.derivative(row, by_one_value)
    return value, derivative
