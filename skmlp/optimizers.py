"""Optimizers as objects: what ``solver`` takes where its name does not say enough.

Like the kernels of Gaussian processes in scikit-learn these objects can be cloned, printed and
searched: their parameters are ``solver__beta_2`` and so on. What the name of a solver takes from
parameters of the estimator belongs to the object instead.

============== ===================== ==========================================================
name           object                parameters that the name takes from the estimator
============== ===================== ==========================================================
``"sgd"``      `SGD`                 `momentum`, `nesterovs_momentum`
``"adam"``     `Adam`                `beta_1`, `beta_2`, `epsilon`
``"adamw"``    `AdamW`               `beta_1`, `beta_2`, `epsilon`, `weight_decay`
``"nadam"``    `NAdam`               `beta_1`, `beta_2`, `epsilon`
``"amsgrad"``  `AMSGrad`             `beta_1`, `beta_2`, `epsilon`
``"adamax"``   `Adamax`              `beta_1`, `beta_2`, `epsilon`
``"rmsprop"``  `RMSprop`             none
``"adagrad"``  `Adagrad`             none
``"adadelta"`` `Adadelta`            none
``"lion"``     `Lion`                none
``"muon"``     `Muon`                `beta_1`, `beta_2`, `epsilon`
============== ===================== ==========================================================

`docs/guide/solvers.md` says when to use which.
"""

from numbers import Real
from typing import Any, ClassVar

from skmlp._formulas import FormulaChoice, ranges
from skmlp._sklearn_compat import Interval
from skmlp.network.optimizers import OPTIMIZERS

__all__ = [
    "SGD",
    "AMSGrad",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "Muon",
    "NAdam",
    "RMSprop",
]


class Optimizer(FormulaChoice):
    """Base of the optimizers; not to be used directly."""


class SGD(Optimizer):
    """Minibatch gradient descent with momentum.

    With the gradient `g` and the learning rate `r` a step is ``v = momentum * v - r * g``, and the
    parameter grows by `v`, or with Nesterov's momentum by ``momentum * v - r * g``.

    Parameters
    ----------
    momentum : float, default=0.9
        In [0, 1].
    nesterovs_momentum : bool, default=True
        Whether to use Nesterov's momentum.

    References
    ----------
    .. [1] Sutskever, Martens, Dahl & Hinton (2013), "On the importance of initialization and
       momentum in deep learning", ICML.

    Examples
    --------
    >>> from skmlp import MLPRegressor
    >>> from skmlp.optimizers import SGD
    >>> MLPRegressor(solver=SGD(momentum=0.5)).get_params()["solver__momentum"]
    0.5
    """

    _name = "sgd"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **ranges(OPTIMIZERS[_name].settings),
        "nesterovs_momentum": ["boolean"],
    }

    def __init__(self, momentum: float = 0.9, nesterovs_momentum: bool = True) -> None:
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum


class Adam(Optimizer):
    """Gradient descent with adaptive moments.

    With the gradient `g` and the learning rate `r`, step `t` is
    ``m = beta_1 * m + (1 - beta_1) * g`` and ``v = beta_2 * v + (1 - beta_2) * g ** 2``; the
    parameter falls by ``r * sqrt(1 - beta_2 ** t) / (1 - beta_1 ** t) * m / (sqrt(v) + epsilon)``.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Decay rate of the first moment, in [0, 1).
    beta_2 : float, default=0.999
        Decay rate of the second moment, in [0, 1).
    epsilon : float, default=1e-8
        Added to the denominator.

    References
    ----------
    .. [1] Kingma & Ba (2014), "Adam: a method for stochastic optimization", arXiv:1412.6980.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.optimizers import Adam
    >>> MLPClassifier(solver=Adam()).set_params(solver__beta_2=0.99).solver
    Adam(beta_2=0.99)
    """

    _name = "adam"
    _parameter_constraints: ClassVar = ranges(OPTIMIZERS[_name].settings)

    def __init__(self, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8) -> None:
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon


class AdamW(Optimizer):
    """Adam with decoupled weight decay, by default as strong as PyTorch's.

    Before each step with the learning rate `r` coefficients are multiplied by
    ``1 - r * weight_decay``, whatever their gradient is; intercepts are not. Then comes a step of
    `Adam`. The L2 penalty `alpha`, of which the gradient is part of what Adam scales, stays what
    it is beside it: set ``alpha=0`` to have the decay alone.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Decay rate of the first moment, in [0, 1).
    beta_2 : float, default=0.999
        Decay rate of the second moment, in [0, 1).
    epsilon : float, default=1e-8
        Added to the denominator.
    weight_decay : float, default=0.01
        Strength of the decay, not negative. The name ``solver="adamw"`` takes the estimator's
        `weight_decay` instead, which is zero unless it is set.

    References
    ----------
    .. [1] Loshchilov & Hutter (2019), "Decoupled weight decay regularization", ICLR,
       arXiv:1711.05101.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.optimizers import AdamW
    >>> MLPClassifier(alpha=0, solver=AdamW(weight_decay=0.1))
    MLPClassifier(alpha=0, solver=AdamW(weight_decay=0.1))
    """

    _name = "adamw"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **ranges(OPTIMIZERS[_name].settings),
        "weight_decay": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.weight_decay = weight_decay


class NAdam(Optimizer):
    """Adam with Nesterov's momentum, which grows with the steps.

    With the moments of `Adam`, ``b(t) = beta_1 * (1 - 0.96 ** (t * momentum_decay) / 2)`` and the
    product `p` of all `b` so far, the parameter falls in step `t` by ``r * (1 - b(t)) / (1 - p) *
    g / s + r * b(t + 1) / (1 - p * b(t + 1)) * m / s``, where ``s = sqrt(v / (1 - beta_2 ** t)) +
    epsilon``. As in PyTorch.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Decay rate of the first moment, in [0, 1).
    beta_2 : float, default=0.999
        Decay rate of the second moment, in [0, 1).
    epsilon : float, default=1e-8
        Added to the denominator.
    momentum_decay : float, default=0.004
        How fast `b` grows to `beta_1`, not negative.

    References
    ----------
    .. [1] Dozat (2016), "Incorporating Nesterov momentum into Adam", ICLR workshop.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.optimizers import NAdam
    >>> MLPClassifier(solver=NAdam()).set_params(solver__momentum_decay=0.01).solver
    NAdam(momentum_decay=0.01)
    """

    _name = "nadam"
    _parameter_constraints: ClassVar = ranges(OPTIMIZERS[_name].settings)

    def __init__(
        self,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        momentum_decay: float = 0.004,
    ) -> None:
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.momentum_decay = momentum_decay


class AMSGrad(Optimizer):
    """Adam with the largest second moment so far, so that no parameter's steps grow again.

    With the moments of `Adam` and the largest `v` so far, the parameter falls in step `t` by
    ``r / (1 - beta_1 ** t) * m / (sqrt(largest / (1 - beta_2 ** t)) + epsilon)``. As in PyTorch.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Decay rate of the first moment, in [0, 1).
    beta_2 : float, default=0.999
        Decay rate of the second moment, in [0, 1).
    epsilon : float, default=1e-8
        Added to the denominator.

    References
    ----------
    .. [1] Reddi, Kale & Kumar (2018), "On the convergence of Adam and beyond", ICLR,
       arXiv:1904.09237.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.optimizers import AMSGrad
    >>> MLPClassifier(solver=AMSGrad(beta_2=0.99)).solver
    AMSGrad(beta_2=0.99)
    """

    _name = "amsgrad"
    _parameter_constraints: ClassVar = ranges(OPTIMIZERS[_name].settings)

    def __init__(self, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8) -> None:
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon


class Adamax(Optimizer):
    """Adam with the largest of the decayed sizes of a gradient, in place of its second moment.

    With the first moment of `Adam` and ``u = max(beta_2 * u, abs(g) + epsilon)`` the parameter
    falls in step `t` by ``r / (1 - beta_1 ** t) * m / u``. As in PyTorch.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Decay rate of the first moment, in [0, 1).
    beta_2 : float, default=0.999
        Decay rate of the sizes, in [0, 1).
    epsilon : float, default=1e-8
        Added to the size of a gradient.

    References
    ----------
    .. [1] Kingma & Ba (2014), "Adam: a method for stochastic optimization", arXiv:1412.6980,
       section 7.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.optimizers import Adamax
    >>> MLPClassifier(solver=Adamax(beta_2=0.99)).solver
    Adamax(beta_2=0.99)
    """

    _name = "adamax"
    _parameter_constraints: ClassVar = ranges(OPTIMIZERS[_name].settings)

    def __init__(self, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8) -> None:
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon


class RMSprop(Optimizer):
    """The gradient divided by the root of its mean square.

    With the gradient `g` and the learning rate `r` a step is ``v = rho * v + (1 - rho) * g ** 2``
    and ``u = momentum * u + g / (sqrt(v) + epsilon)``; the parameter falls by ``r * u``. As in
    PyTorch, where `rho` is `alpha`.

    Parameters
    ----------
    rho : float, default=0.99
        Decay rate of the mean square, in [0, 1).
    epsilon : float, default=1e-8
        Added to the denominator.
    momentum : float, default=0.0
        In [0, 1).
    centered : bool, default=False
        Whether to take the variance for the mean square: ``v - m ** 2`` with
        ``m = rho * m + (1 - rho) * g``.

    References
    ----------
    .. [1] Hinton (2012), "Neural networks for machine learning", lecture 6e.
    .. [2] Graves (2013), "Generating sequences with recurrent neural networks", arXiv:1308.0850,
       for `centered`.

    Examples
    --------
    >>> from skmlp import MLPRegressor
    >>> from skmlp.optimizers import RMSprop
    >>> MLPRegressor(solver=RMSprop(rho=0.9, momentum=0.5)).get_params()["solver__rho"]
    0.9
    """

    _name = "rmsprop"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **ranges(OPTIMIZERS[_name].settings),
        "centered": ["boolean"],
    }

    def __init__(
        self,
        rho: float = 0.99,
        epsilon: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        self.rho = rho
        self.epsilon = epsilon
        self.momentum = momentum
        self.centered = centered


class Adagrad(Optimizer):
    """The gradient divided by the root of the sum of all its squares.

    With the gradient `g` and the learning rate `r` a step is ``s = s + g ** 2``, where `s` begins
    with `initial`; the parameter falls by ``r * g / (sqrt(s) + epsilon)``. Steps become smaller and
    smaller, so that `learning_rate_init` should be larger than with Adam: 0.01 is PyTorch's.

    Parameters
    ----------
    initial : float, default=0.0
        What the sum begins with, not negative.
    epsilon : float, default=1e-10
        Added to the denominator.

    References
    ----------
    .. [1] Duchi, Hazan & Singer (2011), "Adaptive subgradient methods for online learning and
       stochastic optimization", JMLR 12.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.optimizers import Adagrad
    >>> MLPClassifier(solver=Adagrad(initial=0.1), learning_rate_init=0.01).solver
    Adagrad(initial=0.1)
    """

    _name = "adagrad"
    _parameter_constraints: ClassVar = ranges(OPTIMIZERS[_name].settings)

    def __init__(self, initial: float = 0.0, epsilon: float = 1e-10) -> None:
        self.initial = initial
        self.epsilon = epsilon


class Adadelta(Optimizer):
    """The gradient times the ratio of what steps were and what gradients were.

    With the gradient `g` and the learning rate `r` a step is ``v = rho * v + (1 - rho) * g ** 2``,
    ``d = g * sqrt((u + epsilon) / (v + epsilon))`` and ``u = rho * u + (1 - rho) * d ** 2``; the
    parameter falls by ``r * d``. Steps have a size of their own, of which `learning_rate_init` is
    the share that is made: 1 in the paper and in PyTorch. The default of 0.001 hardly moves.

    Parameters
    ----------
    rho : float, default=0.9
        Decay rate of both means of squares, in [0, 1).
    epsilon : float, default=1e-6
        Added to both. The first steps are as large as its root.

    References
    ----------
    .. [1] Zeiler (2012), "ADADELTA: an adaptive learning rate method", arXiv:1212.5701.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.optimizers import Adadelta
    >>> MLPClassifier(solver=Adadelta(rho=0.95), learning_rate_init=1.0).solver
    Adadelta(rho=0.95)
    """

    _name = "adadelta"
    _parameter_constraints: ClassVar = ranges(OPTIMIZERS[_name].settings)

    def __init__(self, rho: float = 0.9, epsilon: float = 1e-6) -> None:
        self.rho = rho
        self.epsilon = epsilon


class Lion(Optimizer):
    """Steps of one size, whose signs are those of the momentum.

    With the gradient `g` and the learning rate `r` a parameter falls by
    ``r * sign(beta_1 * m + (1 - beta_1) * g)``; then ``m = beta_2 * m + (1 - beta_2) * g``. All
    parameters move by the same amount, so that `learning_rate_init` should be three to ten times
    smaller than with Adam, and a `weight_decay` as many times larger. Rounding may decide on a
    sign: results in float32 and float64 soon part.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Share of the momentum in the step, in [0, 1).
    beta_2 : float, default=0.99
        Decay rate of the momentum, in [0, 1).

    References
    ----------
    .. [1] Chen et al. (2023), "Symbolic discovery of optimization algorithms", arXiv:2302.06675.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.optimizers import Lion
    >>> MLPClassifier(solver=Lion(beta_2=0.95), learning_rate_init=1e-4, weight_decay=0.1).solver
    Lion(beta_2=0.95)
    """

    _name = "lion"
    _parameter_constraints: ClassVar = ranges(OPTIMIZERS[_name].settings)

    def __init__(self, beta_1: float = 0.9, beta_2: float = 0.99) -> None:
        self.beta_1 = beta_1
        self.beta_2 = beta_2


class Muon(Optimizer):
    """The momentum of each weight matrix, made orthogonal; `Adam` for all that is no matrix.

    With the gradient `G` of the weights of a layer a step is ``M = momentum * M + (1 - momentum) *
    G``, and what is made orthogonal is ``momentum * M + (1 - momentum) * G``, or `M` without
    Nesterov's momentum. It is divided by its norm, and `iterations` of ``X = a X + b X X' X +
    c X X' X X' X`` with ``(a, b, c) = (3.4445, -4.7750, 2.0315)`` bring its singular values near
    one. The weights fall by `X` times the learning rate and a scale. Such a step costs several
    times as much as one of Adam, where layers are wide and batches small.

    Parameters
    ----------
    momentum : float, default=0.95
        In [0, 1).
    nesterovs_momentum : bool, default=True
        Whether to use Nesterov's momentum.
    iterations : int, default=5
        From 1 to 99.
    match_rms : bool, default=True
        Whether the scale is ``0.2 * sqrt(max(fan_in, fan_out))``, by which a step is about as
        large as Adam's: one learning rate then does for matrices and all else, as in [2]_ and in
        Keras. The scale of [1]_, PyTorch's default, is ``sqrt(max(1, fan_out / fan_in))``, with
        rates of about 0.02.
    first_layer : bool, default=True
        Whether the weights of the first layer are among the matrices. Jordan et al. leave
        embeddings to Adam, which there are none of here; [3]_ took all but the output layer.
    last_layer : bool, default=False
        Whether the weights of the output layer are, which all of them leave to Adam. Without
        hidden layers these are the only ones.
    beta_1 : float, default=0.9
        Of Adam, in [0, 1).
    beta_2 : float, default=0.999
        Of Adam, in [0, 1).
    epsilon : float, default=1e-8
        Of Adam: added to the denominator.

    References
    ----------
    .. [1] Jordan et al. (2024), "Muon: an optimizer for hidden layers in neural networks",
       https://kellerjordan.github.io/posts/muon.
    .. [2] Liu et al. (2025), "Muon is scalable for LLM training", arXiv:2502.16982.
    .. [3] Gorishniy et al. (2026), "Benchmarking optimizers for MLPs in tabular deep learning",
       arXiv:2604.15297.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.optimizers import Muon
    >>> MLPClassifier((64, 64), solver=Muon(momentum=0.9), weight_decay=0.1).solver
    Muon(momentum=0.9)
    """

    _name = "muon"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **ranges(OPTIMIZERS[_name].settings),
        "nesterovs_momentum": ["boolean"],
        "match_rms": ["boolean"],
        "first_layer": ["boolean"],
        "last_layer": ["boolean"],
    }

    def __init__(
        self,
        momentum: float = 0.95,
        nesterovs_momentum: bool = True,
        iterations: int = 5,
        match_rms: bool = True,
        first_layer: bool = True,
        last_layer: bool = False,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.iterations = iterations
        self.match_rms = match_rms
        self.first_layer = first_layer
        self.last_layer = last_layer
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon


OBJECTS: dict[str, type[Optimizer]] = {
    cls._name: cls
    for cls in (
        *(SGD, Adam, AdamW, NAdam, AMSGrad, Adamax, RMSprop, Adagrad, Adadelta, Lion, Muon),
    )
}
