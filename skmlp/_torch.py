"""Networks as PyTorch has them: `to_torch`. PyTorch is imported when that is called."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from skmlp._fitted import as_trained, refuse_ensemble
from skmlp._optional import needed
from skmlp.network.activations import CUSTOM_ACTIVATIONS, activation_entry, blended_by
from skmlp.network.folding import scale_folded
from skmlp.network.normalization import EPSILON, MOMENTUM
from skmlp.network.parts import named_extras
from skmlp.network.specs import LayerSpec

INSTALL = "skmlp[torch]"
OURS = "skmlp._torch_modules"


def is_any(module: Any) -> bool:
    return True


class Counterpart(NamedTuple):
    """The module that computes an activation.

    Attributes
    ----------
    name : str
        Its class, of `torch.nn` or of `skmlp._torch_modules`.
    constants : tuple of str
        Its arguments and attributes that are the activation's constants, in their order.
    arguments : mapping
        What else it is made with.
    computes_it : callable
        ``computes_it(module)``: whether a module of this class, made by others, does.
    """

    name: str
    constants: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = {}
    computes_it: Callable[[Any], bool] = is_any


# PyTorch's softplus is the identity above a threshold. There is no difference at this one, and
# little at the usual one, 20.
EXACT_FROM, GOOD_FROM = 40.0, 20.0
# Those that learn numbers are made by `Maker`, and read by `skmlp._from_torch.Reader`.
COUNTERPARTS: dict[str, Counterpart] = {
    "identity": Counterpart("Identity"),
    "logistic": Counterpart("Sigmoid"),
    "tanh": Counterpart("Tanh"),
    "relu": Counterpart("ReLU"),
    "gelu": Counterpart("GELU", computes_it=lambda module: module.approximate == "none"),
    "gelu_tanh": Counterpart(
        "GELU", (), {"approximate": "tanh"}, lambda module: module.approximate == "tanh"
    ),
    "silu": Counterpart("SiLU"),
    "leaky_relu": Counterpart("LeakyReLU", ("negative_slope",)),
    "maxout": Counterpart("Maxout", ("pieces",)),
    "elu": Counterpart("ELU", ("alpha",)),
    "celu": Counterpart("CELU", ("alpha",)),
    "selu": Counterpart("SELU"),
    "mish": Counterpart("Mish"),
    "softplus": Counterpart(
        "Softplus", ("beta",), {"threshold": EXACT_FROM}, lambda m: m.threshold >= GOOD_FROM
    ),
    "softsign": Counterpart("Softsign"),
    "log_sigmoid": Counterpart("LogSigmoid"),
    "scaled_logistic": Counterpart("ScaledLogistic", ("slope", "threshold")),
    "sinc": Counterpart("Sinc"),
    "exponential": Counterpart("Exponential"),
    "hard_sigmoid": Counterpart("Hardsigmoid"),
    "hard_swish": Counterpart("Hardswish"),
    "hard_tanh": Counterpart(
        "Hardtanh", computes_it=lambda module: (module.min_val, module.max_val) == (-1.0, 1.0)
    ),
    "relu6": Counterpart("ReLU6"),
    "step": Counterpart("Step"),
    "softmax": Counterpart("Softmax", (), {"dim": -1}, lambda module: module.dim in (1, -1)),
}


class InTorch:
    """Gives an estimator `to_torch`."""

    def to_torch(self) -> Any:
        """Return the fitted network as a `torch.nn.Sequential`.

        Its outputs are the *raw* predictions: of a classifier the scores of which a softmax or
        sigmoid makes probabilities (of one target with two classes a single column), of a regressor
        what the link of the loss is applied to (the exponential for Poisson, gamma and Tweedie
        losses), in units of scaled targets where `y_scale` was set. It is in the precision of the
        fitted weights and in evaluation mode; its tensors are copies.

        Returns
        -------
        sequential : torch.nn.Sequential
            ``Linear``, normalization, activation and dropout of each hidden layer, and the last
            ``Linear``. What PyTorch lacks are modules of `skmlp`. Noise and mixtures of inputs,
            which only training knows, are left out.

        Raises
        ------
        ImportError
            If PyTorch is not installed.
        ValueError
            If an activation is made of functions of your own, or features are embedded.

        Examples
        --------
        >>> from skmlp import MLPClassifier
        >>> model = MLPClassifier((5,), solver="lbfgs", activation="tanh", random_state=0)
        >>> model.fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]).to_torch()  # doctest: +SKIP
        Sequential(
          (0): Linear(in_features=1, out_features=5, bias=True)
          (1): Tanh()
          (2): Linear(in_features=5, out_features=1, bias=True)
        )
        """
        refuse_ensemble(self, "to_torch")
        torch = needed("torch", "to_torch", install=INSTALL)
        check_is_fitted(self, "coefs_")
        trained = as_trained(self)
        if trained.network.inputs.embedding:
            raise ValueError(
                "to_torch has no modules for embedding. Fit with embedding=None, or export by "
                "to_onnx."
            )
        is_single = trained.coefs[0].dtype == np.float32
        network, coefs, intercepts, extras = scale_folded(trained)
        pieces = named_extras(network, extras)
        maker = Maker(torch, torch.float32 if is_single else torch.float64)
        modules = []
        if network.inputs.dropout > 0.0:
            modules.append(torch.nn.Dropout(network.inputs.dropout))
        for number, layer in enumerate(network.layers):
            modules.append(maker.linear(coefs[number], intercepts[number]))
            own = {name: piece for (of, name), piece in pieces.items() if of == number}
            modules += maker.rest_of_layer(number, layer, own)
        modules.append(maker.linear(coefs[-1], intercepts[-1]))
        return torch.nn.Sequential(*modules).eval()


class Maker:
    """Makes modules.

    Parameters
    ----------
    torch : module
    dtype : torch.dtype
    """

    def __init__(self, torch: Any, dtype: Any) -> None:
        self._torch, self._dtype = torch, dtype

    def linear(self, coef: npt.NDArray[Any], intercept: npt.NDArray[Any]) -> Any:
        # Without memory, and without drawing weights from PyTorch's generator.
        linear = self._torch.nn.Linear(*coef.shape, device="meta")
        linear.weight, linear.bias = self._parameter(coef.T), self._parameter(intercept)
        return linear

    def rest_of_layer(
        self, number: int, layer: LayerSpec, own: dict[str, npt.NDArray[Any]]
    ) -> list[Any]:
        """Return what comes after the product: normalization, activation and dropout."""
        modules = []
        if layer.normalization is not None:
            modules.append(self._normalization(layer, own))
        modules.append(self._activation(number, layer, own))
        if layer.dropout > 0.0:
            modules.append(self._torch.nn.Dropout(layer.dropout))
        return modules

    def _normalization(self, layer: LayerSpec, own: dict[str, npt.NDArray[Any]]) -> Any:
        nn, columns = self._torch.nn, layer.product_units
        if layer.normalization == "layer":
            module = nn.LayerNorm(columns, eps=EPSILON)
        else:
            module = nn.BatchNorm1d(columns, eps=EPSILON, momentum=MOMENTUM)
            module.running_mean = self._tensor(own["mean"])
            module.running_var = self._tensor(own["variance"])
        module.weight, module.bias = self._parameter(own["gain"]), self._parameter(own["shift"])
        return module

    def _activation(self, number: int, layer: LayerSpec, own: dict[str, npt.NDArray[Any]]) -> Any:
        name, constants = layer.activation.name, layer.activation.constants
        if name in CUSTOM_ACTIVATIONS:
            raise ValueError(
                f"The activation of hidden layer {number} is made of functions of your own, for "
                "which PyTorch has no module. to_torch knows all other activations."
            )
        if name == "prelu":
            module = self._torch.nn.PReLU(layer.units)
            module.weight = self._parameter(own["negative_slope"])
            return module
        if of := blended_by(name):
            inner = self._plain_activation(of, constants)
            module = class_of(self._torch, "Blend")(inner, layer.units)
            module.blend = self._parameter(own["blend"])
            return module
        return self._plain_activation(name, constants)

    def _plain_activation(self, name: str, constants: tuple[float, ...]) -> Any:
        counterpart = COUNTERPARTS[name]
        kinds = activation_entry(name).constants
        values = [int(v) if c.whole else v for c, v in zip(kinds, constants, strict=True)]
        arguments = dict(zip(counterpart.constants, values, strict=True))
        return class_of(self._torch, counterpart.name)(**arguments, **counterpart.arguments)

    def _tensor(self, array: npt.NDArray[Any]) -> Any:
        return self._torch.tensor(np.ascontiguousarray(array), dtype=self._dtype)

    def _parameter(self, array: npt.NDArray[Any]) -> Any:
        return self._torch.nn.Parameter(self._tensor(array))


def class_of(torch: Any, name: str) -> Any:
    """Return a class of modules by its name: ours, or else PyTorch's."""
    # In this order: what PyTorch may once have by one of our names need not be the same.
    ours = importlib.import_module(OURS)
    return getattr(ours if hasattr(ours, name) else torch.nn, name)
