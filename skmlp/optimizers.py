"""Optimizers as objects: what ``solver`` takes where its name does not say enough.

Like the kernels of Gaussian processes in scikit-learn these objects can be cloned, printed and
searched: their parameters are ``solver__beta_2`` and so on. What the name of a solver takes from
parameters of the estimator belongs to the object instead.

============ ======================= ==========================================================
name         object                  parameters that the name takes from the estimator
============ ======================= ==========================================================
``"sgd"``    `SGD`                   `momentum`, `nesterovs_momentum`
``"adam"``   `Adam`                  `beta_1`, `beta_2`, `epsilon`
``"adamw"``  `AdamW`                 `beta_1`, `beta_2`, `epsilon`, `weight_decay`
``"lion"``   `Lion`                  none
============ ======================= ==========================================================
"""

from numbers import Real
from typing import Any, ClassVar

from skmlp._formulas import FormulaChoice, ranges
from skmlp._sklearn_compat import Interval
from skmlp.network.optimizers import OPTIMIZERS

__all__ = ["SGD", "Adam", "AdamW", "Lion"]


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


OBJECTS: dict[str, type[Optimizer]] = {cls._name: cls for cls in (SGD, Adam, AdamW, Lion)}
