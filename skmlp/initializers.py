"""Initializers as objects, which both estimators take as their `init` in place of names.

Each draws the coefficients of one layer after the other, in the order of scikit-learn; `fan_in` is
the number of a unit's inputs, `fan_out` that of units. Intercepts start at zero unless something
else is said. `ZeroLast` and `From` stand around another one.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from skmlp._choices import Choice, OneOf, same
from skmlp._fitted import as_trained
from skmlp._formulas import FormulaChoice, formula_of, name_of, ranges
from skmlp.network.initializers import INITIALIZERS
from skmlp.network.parameters import layout_of
from skmlp.network.specs import Formula, NetworkSpec

__all__ = [
    "DataDriven",
    "FanInUniform",
    "From",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "LecunNormal",
    "LecunUniform",
    "Ntk",
    "Orthogonal",
    "Sparse",
    "ZeroLast",
]


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


class GlorotNormal(FormulaChoice):
    """Normal draws by Glorot and Bengio, as ``init='glorot_normal'``.

    The weights of a layer have mean zero and the variance ``2 / (fan_in + fan_out)``. Keras cuts
    the distribution off at two standard deviations; PyTorch and skmlp do not.

    References
    ----------
    Glorot & Bengio (2010), "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS, eq. 12.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.initializers import GlorotNormal
    >>> MLPClassifier(init=GlorotNormal())
    MLPClassifier(init=GlorotNormal())
    """

    _name = "glorot_normal"


class HeUniform(FormulaChoice):
    """Uniform draws by He and others, for rectifiers, as ``init='he_uniform'``.

    The weights of a layer lie within ``sqrt(3 * gain / fan_in)`` of zero and have the variance
    that `HeNormal` gives them.

    References
    ----------
    He, Zhang, Ren & Sun (2015), "Delving deep into rectifiers: surpassing human-level performance
    on ImageNet classification", ICCV, eq. 10.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.initializers import HeUniform
    >>> MLPClassifier(init=HeUniform())
    MLPClassifier(init=HeUniform())
    """

    _name = "he_uniform"


class LecunUniform(FormulaChoice):
    """Uniform draws by LeCun and others, as ``init='lecun_uniform'``.

    The weights of a layer lie within ``sqrt(3 / fan_in)`` of zero.

    References
    ----------
    LeCun, Bottou, Orr & Mueller (1998), "Efficient backprop", section 4.6.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.initializers import LecunUniform
    >>> MLPClassifier(init=LecunUniform())
    MLPClassifier(init=LecunUniform())
    """

    _name = "lecun_uniform"


class LecunNormal(FormulaChoice):
    """Normal draws by LeCun and others, as ``init='lecun_normal'``.

    The weights of a layer have mean zero and the variance ``1 / fan_in``.

    References
    ----------
    LeCun, Bottou, Orr & Mueller (1998), "Efficient backprop", section 4.6.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.initializers import LecunNormal
    >>> MLPClassifier(init=LecunNormal())
    MLPClassifier(init=LecunNormal())
    """

    _name = "lecun_normal"


class FanInUniform(FormulaChoice):
    """Uniform draws as a `Linear` of PyTorch has them, as ``init='fan_in_uniform'``.

    The weights and intercepts of a layer lie within ``sqrt(1 / fan_in)`` of zero. Weights have the
    variance ``1 / (3 * fan_in)``.

    References
    ----------
    LeCun, Bottou, Orr & Mueller (1998), "Efficient backprop"; `torch.nn.Linear`.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.initializers import FanInUniform
    >>> MLPClassifier(init=FanInUniform())
    MLPClassifier(init=FanInUniform())
    """

    _name = "fan_in_uniform"


class Orthogonal(FormulaChoice):
    """Random orthogonal matrices, as ``init='orthogonal'``.

    The columns of a layer's weights are orthogonal to each other, or its rows where there are more
    units than inputs, so that no direction of a signal is lost. All such matrices are equally
    likely. Drawing takes a time that grows with ``fan_in * fan_out * min(fan_in, fan_out)``.

    Parameters
    ----------
    gain : float, default=1.0
        Norm of these columns or rows. The root of two keeps signals at their size through
        rectifiers.

    References
    ----------
    Saxe, McClelland & Ganguli (2014), "Exact solutions to the nonlinear dynamics of learning in
    deep linear neural networks", ICLR, arXiv:1312.6120.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.initializers import Orthogonal
    >>> MLPClassifier(init=Orthogonal(gain=1.4))
    MLPClassifier(init=Orthogonal(gain=1.4))
    """

    _name = "orthogonal"
    _parameter_constraints: ClassVar = ranges(INITIALIZERS[_name].constants)

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain


class Sparse(FormulaChoice):
    """Units with few connections, as ``init='sparse'``.

    Each unit begins with so many inputs, drawn at random, whose weights are normal with mean zero;
    all other weights are zero, and are learned like these.

    Parameters
    ----------
    connections : int, default=15
        Inputs of each unit whose weights are not zero; all where there are fewer.
    deviation : float, default=1.0
        Standard deviation of their weights.

    References
    ----------
    Martens (2010), "Deep learning via Hessian-free optimization", ICML, section 5.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.initializers import Sparse
    >>> MLPClassifier(init=Sparse(connections=10))
    MLPClassifier(init=Sparse(connections=10))
    """

    _name = "sparse"
    _parameter_constraints: ClassVar = ranges(INITIALIZERS[_name].constants)

    def __init__(self, connections: int = 15, deviation: float = 1.0) -> None:
        self.connections = connections
        self.deviation = deviation


class Ntk(FormulaChoice):
    """The start of the neural-tangent parametrization, as ``init='ntk'``.

    Weights are normal with mean zero and the variance ``1 / fan_in``, intercepts normal with
    variance one. With standard normal weights `W` that parametrization computes ``x @ W /
    sqrt(fan_in) + b``; here the factor is part of the weights, as everywhere in skmlp. The network
    starts as the same function, but does not learn in the same way: there a step of 'sgd' is that
    of these weights divided by `fan_in`, and one of 'adam' divided by its root.

    References
    ----------
    Jacot, Gabriel & Hongler (2018), "Neural tangent kernel", NeurIPS, arXiv:1806.07572.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.initializers import Ntk
    >>> MLPClassifier(init=Ntk())
    MLPClassifier(init=Ntk())
    """

    _name = "ntk"


class DataDriven(FormulaChoice):
    """Draws that look at the data, as ``init='data_driven'``.

    Normal weights are divided, unit by unit, by the standard deviation of its pre-activations over
    256 samples, evenly spread over X, that have passed through the layers before. Where samples
    are held out, they may be among these. The intercept is minus the pre-activation of a random
    mixture of some of the samples, another one for each unit, so that all units divide the data.

    Parameters
    ----------
    rows : int, default=5
        Samples that are mixed; with zero, intercepts are zero.

    References
    ----------
    Holzmueller, Grinsztajn & Steinwart (2024), "Better by default: strong pre-tuned MLPs and
    boosted trees on tabular data", NeurIPS, arXiv:2407.04491; intercepts by Steinwart (2019), "A
    sober look at neural network initializations", arXiv:1903.11482.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.initializers import DataDriven
    >>> MLPClassifier(init=DataDriven(rows=0))
    MLPClassifier(init=DataDriven(rows=0))
    """

    _name = "data_driven"
    _parameter_constraints: ClassVar = ranges(INITIALIZERS[_name].constants)

    def __init__(self, rows: int = 5) -> None:
        self.rows = rows


DRAWN: tuple[type[FormulaChoice], ...] = (
    *(GlorotUniform, GlorotNormal, HeUniform, HeNormal, LecunUniform, LecunNormal),
    *(FanInUniform, Orthogonal, Sparse, Ntk, DataDriven),
)
DRAWS = OneOf(INITIALIZERS, DRAWN)


class ZeroLast(Choice):
    """Zeros for the output layer, whatever draws the others.

    All outputs are equal at the start, and the loss is that of a constant prediction.

    Parameters
    ----------
    init : str or object of `skmlp.initializers`, default='glorot_uniform'
        What draws the hidden layers. The output layer is drawn too, so that a `random_state` gives
        the hidden layers and orders of samples that it gives without this.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.initializers import ZeroLast
    >>> MLPClassifier(init=ZeroLast("he_normal")).get_params()["init__init"]
    'he_normal'
    """

    _parameter_constraints: ClassVar = {"init": [DRAWS]}

    def __init__(self, init: Any = "glorot_uniform") -> None:
        self.init = init


@dataclass(frozen=True, eq=False)
class Weights:
    """What a fitted network has learned, as copies that nobody can change.

    Attributes
    ----------
    coefs, intercepts : tuple of ndarray
    extras : dict of (int, str) to ndarray
        What it has learned besides, by the number of the hidden layer and by name.
    """

    coefs: tuple[npt.NDArray[Any], ...]
    intercepts: tuple[npt.NDArray[Any], ...]
    extras: dict[tuple[int, str], npt.NDArray[Any]] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Weights):
            return NotImplemented
        return (
            same(self.coefs, other.coefs)
            and same(self.intercepts, other.intercepts)
            and self.extras.keys() == other.extras.keys()
            and all(same(array, other.extras[key]) for key, array in self.extras.items())
        )

    def __hash__(self) -> int:
        return hash(tuple(coef.shape for coef in self.coefs))

    # Pickled without what some files cannot hold: dictionaries by anything but text, in skops's.
    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "extras": [(*key, array) for key, array in self.extras.items()]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        vars(self)["extras"] = {(layer, name): array for layer, name, array in state["extras"]}

    def __deepcopy__(self, memo: Any) -> "Weights":
        return self  # what never changes, clones may share

    def __repr__(self) -> str:
        units = [len(coef) for coef in self.coefs] + [len(self.intercepts[-1])]
        return f"<weights of {'-'.join(map(str, units))} units>"


def weights_of(model: Any) -> Weights:
    """Copy what a fitted network, of skmlp or of scikit-learn, has learned.

    Raises
    ------
    ValueError
        If it is not fitted, or holds something else than numbers.
    """
    if "estimators_" in getattr(model, "__dict__", ()) and not isinstance(model, type):
        raise ValueError(
            "From needs one fitted network, but got an ensemble of several. Give one of its "
            "members, such as estimators_[0]."
        )
    if isinstance(model, type) or not (hasattr(model, "coefs_") and hasattr(model, "intercepts_")):
        raise ValueError(
            f"From needs a fitted network, which has coefs_ and intercepts_, but got {model!r}. "
            "Fit it first; of a pipeline give the last step, pipeline[-1]."
        )
    network, *arrays, vector = learned_by(model)
    coefs, intercepts = (tuple(map(copied, given)) for given in arrays)
    extras = {}
    if isinstance(network, NetworkSpec) and vector is not None:
        layout = layout_of(network)
        ends = np.cumsum([extra.size for extra in layout.extras])
        for extra, end in zip(layout.extras, ends, strict=True):
            extras[extra.layer, extra.name] = copied(vector[end - extra.size : end])
    return Weights(coefs, intercepts, extras)


def learned_by(model: Any) -> tuple[Any, Any, Any, Any]:
    """Return network, coefficients, intercepts and extras, the latter if all is known of them."""
    if "_trained" in vars(model):
        return as_trained(model)
    state = vars(model)
    return state.get("_network"), model.coefs_, model.intercepts_, state.get("_extras")


def copied(array: Any) -> npt.NDArray[Any]:
    own = np.array(array)
    if own.dtype.kind not in "fiub":
        raise ValueError(f"From needs weights that are real numbers, but got {own.dtype}.")
    own.flags.writeable = False
    return own


class From(Choice):
    """The weights of a fitted network, as a start for another one.

    Hidden layers are copied from the hidden layers of the same number, and the output layer from
    the output layer, each where the shapes of coefficients and intercepts are the same; what
    else they have learned, as gains of a normalization, likewise. Other layers are drawn: such as
    the output layer where there are other classes, or the first one where there are other
    features. A fit in which no layer can be copied is an error.

    Parameters
    ----------
    model : MLPClassifier, MLPRegressor or those of scikit-learn
        A fitted one. Its weights are copied when this object is made, so that the model may go on
        learning; clones and pickles keep the copies, and nothing else of it. In a search give
        several ``From(model)`` as `init`: values of ``init__model`` would be cloned, and a clone
        is not fitted.
    rest : str or object of `skmlp.initializers`, default='glorot_uniform'
        What draws the other layers. All are drawn, so that a `random_state` gives the orders of
        samples that it gives without this.

    Examples
    --------
    >>> import numpy as np
    >>> from skmlp import MLPClassifier, MLPRegressor
    >>> from skmlp.initializers import From
    >>> X = np.linspace(-1, 1, 100).reshape(50, 2)
    >>> options = {"hidden_layer_sizes": (20, 10), "max_iter": 2000, "random_state": 0}
    >>> first = MLPRegressor(**options).fit(X, X[:, 0] ** 2)
    >>> model = MLPClassifier(**options, init=From(first, rest="he_normal"))
    >>> bool(model.fit(X, X[:, 0] > 0).score(X, X[:, 0] > 0) > 0.9)
    True
    """

    _parameter_constraints: ClassVar = {"model": [Weights], "rest": [DRAWS]}

    def __init__(self, model: Any, rest: Any = "glorot_uniform") -> None:
        self.model = model if isinstance(model, Weights) else weights_of(model)
        self.rest = rest

    def set_params(self, **params: Any) -> Self:
        """Set parameters; of a model its weights are copied, as when the object is made."""
        if "model" in params and not isinstance(params["model"], Weights):
            params["model"] = weights_of(params["model"])
        return super().set_params(**params)


# All objects that `init` takes.
CLASSES: tuple[type[Choice], ...] = (*DRAWN, ZeroLast, From)


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
