"""Networks of PyTorch: made of ours by `to_torch`, and taken over by `from_torch`.

PyTorch is imported when one of the two is called.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from skmlp import activations
from skmlp._fitted import check_layers, fitted_extras, fitted_network
from skmlp._labels import Binarizer
from skmlp._networks import custom_choices, describe_network
from skmlp._optional import needed
from skmlp._saving import assembled, binarizer_from, estimator_classes
from skmlp._targets import head_of
from skmlp.losses import regression_head
from skmlp.network.activations import CUSTOM_ACTIVATIONS, activation_entry
from skmlp.network.normalization import EPSILON, MOMENTUM
from skmlp.network.parameters import FloatArray, layout_of
from skmlp.network.specs import Formula, HeadSpec, LayerSpec, NetworkSpec

if TYPE_CHECKING:
    from skmlp._classifier import MLPClassifier
    from skmlp._regressor import MLPRegressor

INSTALL = "skmlp[torch]"
Pieces = dict[tuple[int, str], npt.NDArray[Any]]
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
# Those that learn numbers are made by `activation_module` and read by `Reader`.
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
            If an activation is made of functions of your own.

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
        torch = needed("torch", "to_torch", install=INSTALL)
        check_is_fitted(self, "coefs_")
        coefs, intercepts, units = check_layers(self)
        network = fitted_network(self, units)
        pieces = pieces_of(network, fitted_extras(self, network))
        is_single = coefs[0].dtype == np.float32
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


def pieces_of(network: NetworkSpec, extras: FloatArray) -> Pieces:
    """Return what a network has learned besides weights, by hidden layer and name."""
    layout = layout_of(network)
    begin = layout.intercept_offsets[-1]
    bounds = pairwise(offset - begin for offset in layout.extra_offsets)
    return {
        (extra.layer, extra.name): extras[start:stop]
        for extra, (start, stop) in zip(layout.extras, bounds, strict=True)
    }


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
        if "blend" in own:
            modules = needed(OURS, "to_torch", install=INSTALL)
            inner = self._plain_activation(name.removeprefix("blend_"), constants)
            module = modules.Blend(inner, layer.units)
            module.blend = self._parameter(own["blend"])
            return module
        return self._plain_activation(name, constants)

    def _plain_activation(self, name: str, constants: tuple[float, ...]) -> Any:
        counterpart = COUNTERPARTS[name]
        kinds = activation_entry(name).constants
        values = [int(v) if c.whole else v for c, v in zip(kinds, constants, strict=True)]
        arguments = dict(zip(counterpart.constants, values, strict=True))
        return class_of(self._torch, counterpart)(**arguments, **counterpart.arguments)

    def _tensor(self, array: npt.NDArray[Any]) -> Any:
        return self._torch.tensor(np.ascontiguousarray(array), dtype=self._dtype)

    def _parameter(self, array: npt.NDArray[Any]) -> Any:
        return self._torch.nn.Parameter(self._tensor(array))


def class_of(torch: Any, counterpart: Counterpart) -> Any:
    """Return the class of a counterpart: PyTorch's, or ours."""
    if hasattr(torch.nn, counterpart.name):
        return getattr(torch.nn, counterpart.name)
    return getattr(needed(OURS, "to_torch", install=INSTALL), counterpart.name)


# From PyTorch

# No activation of skmlp: as a softmax where only probabilities count.
LOG_SOFTMAX = Formula("log_softmax")


@dataclass
class Block:
    """A linear module with all that follows until the next one.

    Attributes
    ----------
    position : str
        Where it stands.
    coef, intercept : ndarray
    normalization : {None, "layer", "batch"}
    activation : Formula or None
    dropout : float or None
    extras : dict of str to ndarray
        What it has learned besides.
    """

    position: str
    coef: npt.NDArray[Any]
    intercept: npt.NDArray[Any]
    normalization: str | None = None
    activation: Formula | None = None
    dropout: float | None = None
    extras: dict[str, npt.NDArray[Any]] = field(default_factory=dict)

    @property
    def columns(self) -> int:
        return len(self.intercept)

    @property
    def pieces(self) -> int:
        """How many columns make one unit."""
        is_maxout = self.activation is not None and self.activation.name == "maxout"
        return int(self.activation.constants[0]) if self.activation and is_maxout else 1

    @property
    def units(self) -> int:
        return self.columns // self.pieces


def from_torch(
    sequential: Any, *, classes: Any = None, loss: Any = None
) -> "MLPClassifier | MLPRegressor":
    """Make an estimator of a network of PyTorch.

    Parameters
    ----------
    sequential : torch.nn.Sequential
        ``Linear``, each but the last followed by whichever there are of ``BatchNorm1d`` or
        ``LayerNorm``, an activation and ``Dropout``, in this order; nested or not. Modules are told
        by their exact class. After the last ``Linear`` may stand ``Softmax``, ``LogSoftmax`` or
        ``Sigmoid``, of a classifier; without, its outputs are taken for the scores before these.
        Weights are copied, and keep their precision if that is single or double.
    classes : array-like of shape (n_classes,), default=None
        The label of each output, which makes a classifier. For a single output two: that of the
        negative class first. A ``Sigmoid`` at the end of several outputs makes one for multilabel
        targets, whose classes are 0, 1, 2 and so on.
    loss : str or object of `skmlp.losses`, default=None
        What the network was trained with, which determines what becomes of its outputs; None means
        'log_loss' for a classifier and 'squared_error' for a regressor.

    Returns
    -------
    model : MLPClassifier or MLPRegressor
        Its parameters describe the network. To train on, set ``warm_start=True`` or use
        `partial_fit`.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    ValueError
        If the network has anything that an estimator of skmlp cannot have; it is named.

    Examples
    --------
    >>> import torch  # doctest: +SKIP
    >>> from skmlp import from_torch
    >>> network = torch.nn.Sequential(
    ...     torch.nn.Linear(4, 8), torch.nn.LeakyReLU(0.1), torch.nn.Linear(8, 3)
    ... )  # doctest: +SKIP
    >>> model = from_torch(network, classes=["a", "b", "c"])  # doctest: +SKIP
    >>> model  # doctest: +SKIP
    MLPClassifier(activation=LeakyReLU(negative_slope=0.1), hidden_layer_sizes=(8,))
    >>> bool((model.coefs_[0].T == network[0].weight.detach().numpy()).all())  # doctest: +SKIP
    True
    """
    torch = needed("torch", "from_torch", install=INSTALL)
    if type(sequential) is not torch.nn.Sequential:
        raise ValueError(
            f"from_torch takes a torch.nn.Sequential, but got {type(sequential).__name__}. Put its "
            "layers into one, in the order of their use."
        )
    check_unchanged("itself", sequential)
    reader = Reader(torch)
    for position, module in flat(torch, sequential):
        reader.take(position, module)
    blocks = reader.finished()
    parameters = parameters_of(blocks[:-1], reader.input_dropout or 0.0)
    if loss is not None:
        parameters["loss"] = loss
    return model_of(blocks, parameters, classes)


def model_of(
    blocks: list[Block], parameters: dict[str, Any], labels: Any
) -> "MLPClassifier | MLPRegressor":
    """Return the estimator that has these layers, a classifier if there are labels."""
    cls = estimator_classes()["MLPRegressor" if labels is None else "MLPClassifier"]
    template = cls(**parameters)
    template._validate_params()
    if labels is None:
        binarizer, head = None, head_of_numbers(blocks[-1], template.loss)
    else:
        binarizer, head = head_of_classes(blocks[-1], labels, template.loss)
    units = parameters["hidden_layer_sizes"]
    network = describe_network(template, len(blocks[0].coef), units, (head,))
    coefs = [block.coef for block in blocks]
    pieces = [blocks[extra.layer].extras[extra.name] for extra in layout_of(network).extras]
    attributes: dict[str, Any] = {"t_": 0, "n_iter_": 0}
    if custom := custom_choices(template.activation, template.loss):
        attributes["_custom"] = custom
    return assembled(
        cls,
        parameters,
        network,
        coefs,
        [block.intercept for block in blocks],
        np.concatenate([coefs[0][:0, 0], *pieces]),
        binarizer,
        attributes,
    )


def flat(torch: Any, sequential: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the modules in the order of their use, each with where it stands."""
    # Not by `named_children`, which passes over those that have been seen before.
    for number, module in enumerate(sequential):
        if type(module) is torch.nn.Sequential:
            check_unchanged(f"{prefix}{number}", module)
            yield from flat(torch, module, f"{prefix}{number}.")
        else:
            yield f"{prefix}{number}", module


class Reader:
    """Takes modules one after the other and puts them together to blocks."""

    def __init__(self, torch: Any) -> None:
        self._nn = torch.nn
        self._dtypes = {torch.float32: np.float32, torch.float64: np.float64}
        self._ours = needed(OURS, "from_torch", install=INSTALL)
        self.input_dropout: float | None = None
        self._blocks: list[Block] = []
        self._dtype: Any = None

    def take(self, position: str, module: Any) -> None:
        """Take the next module."""
        kind = type(module)
        check_unchanged(position, module)
        if kind is self._nn.Linear:
            self._take_linear(position, module)
        elif kind is self._nn.Identity or self._is_flattening(module):
            pass
        elif kind is self._nn.Dropout:
            self._take_dropout(position, module)
        elif not self._blocks:
            refuse(position, module, "stands before the first Linear")
        elif self._blocks[-1].dropout is not None:
            refuse(position, module, "stands behind a Dropout, where a Linear should follow")
        elif kind in (self._nn.BatchNorm1d, self._nn.LayerNorm):
            self._take_normalization(position, module)
        else:
            self._take_activation(position, module)

    def finished(self) -> list[Block]:
        """Return the blocks, of which the last one is the output layer."""
        if not self._blocks:
            raise ValueError("from_torch needs a network with a Linear, but this has none.")
        last = self._blocks[-1]
        if last.normalization is not None or last.dropout is not None:
            raise ValueError(
                f"Module {last.position}, the last Linear, is followed by normalization or "
                "dropout, which output layers of skmlp do not have."
            )
        for block in self._blocks[:-1]:
            if block.activation == LOG_SOFTMAX:
                raise ValueError(
                    f"Module {block.position} is followed by LogSoftmax, which may stand at the "
                    "end only, of a classifier."
                )
        return self._blocks

    def _take_linear(self, position: str, module: Any) -> None:
        coef = np.ascontiguousarray(self._array(position, module, module.weight).T)
        if self._blocks and self._blocks[-1].units != len(coef):
            before = self._blocks[-1].units
            refuse(position, module, f"takes {len(coef)} inputs, but there are {before}")
        intercept = self._array_or(0.0, position, module, module.bias, coef[0])
        self._blocks.append(Block(position, coef, intercept))

    def _is_flattening(self, module: Any) -> bool:
        """Whether it changes nothing about rows of features."""
        is_first = type(module) is self._nn.Flatten and not self._blocks
        return is_first and (module.start_dim, module.end_dim) == (1, -1)

    def _take_dropout(self, position: str, module: Any) -> None:
        share = float(module.p)
        if not self._blocks and self.input_dropout is None:
            self.input_dropout = share
        elif self._blocks and self._blocks[-1].dropout is None:
            self._blocks[-1].dropout = share
        else:
            refuse(position, module, "follows another Dropout")

    def _take_normalization(self, position: str, module: Any) -> None:
        block = self._blocks[-1]
        if block.normalization is not None or block.activation is not None:
            refuse(position, module, "must stand between a Linear and its activation")
        if module.eps != EPSILON:
            refuse(position, module, f"has eps={module.eps}, but skmlp has {EPSILON}")
        is_batch = type(module) is self._nn.BatchNorm1d
        if is_batch and module.running_mean is None:
            refuse(position, module, "has no running statistics")
        width = (module.num_features,) if is_batch else tuple(module.normalized_shape)
        if width != (block.columns,):
            refuse(position, module, f"has width {width}, but there are {block.columns}")
        block.normalization = "batch" if is_batch else "layer"
        like = block.intercept
        block.extras["gain"] = self._array_or(1.0, position, module, module.weight, like)
        block.extras["shift"] = self._array_or(0.0, position, module, module.bias, like)
        if is_batch:
            block.extras["mean"] = self._array(position, module, module.running_mean)
            block.extras["variance"] = self._array(position, module, module.running_var)

    def _take_activation(self, position: str, module: Any) -> None:
        block = self._blocks[-1]
        if block.activation is not None:
            refuse(position, module, "follows another activation")
        if type(module) is self._nn.PReLU:
            block.activation = Formula("prelu")
            self._set_learned(position, module, "negative_slope", module.weight)
        elif type(module) is self._ours.Blend:
            check_unchanged(position, module.activation)
            of = self._formula(position, module.activation)
            block.activation = Formula(f"blend_{of.name}", of.constants)
            self._set_learned(position, module, "blend", module.blend)
        elif type(module) is self._nn.LogSoftmax and module.dim in (1, -1):
            block.activation = LOG_SOFTMAX
        else:
            block.activation = self._formula(position, module)
        if block.columns % block.pieces:
            refuse(position, module, f"cannot divide {block.columns} columns")

    def _set_learned(self, position: str, module: Any, name: str, tensor: Any) -> None:
        block, values = self._blocks[-1], self._array(position, module, tensor)
        if values.size not in (1, block.columns):
            refuse(
                position, module, f"has {values.size} numbers, but there are {block.columns} units"
            )
        block.extras[name] = np.repeat(values, block.columns // values.size)

    def _formula(self, position: str, module: Any) -> Formula:
        for name, counterpart in COUNTERPARTS.items():
            owner = self._nn if hasattr(self._nn, counterpart.name) else self._ours
            is_it = type(module) is getattr(owner, counterpart.name)
            if is_it and counterpart.computes_it(module):
                values = tuple(float(getattr(module, own)) for own in counterpart.constants)
                return Formula(name, values)
        refuse(position, module, "has no counterpart")

    def _array(self, position: str, module: Any, tensor: Any) -> npt.NDArray[Any]:
        """Return a copy of a parameter."""
        if tensor.dtype not in self._dtypes or self._dtype not in (None, tensor.dtype):
            others = "" if self._dtype is None else f", and others are of {self._dtype}"
            refuse(
                position,
                module,
                f"has parameters of {tensor.dtype}{others}. Convert the network by .float() or "
                ".double()",
            )
        self._dtype = tensor.dtype
        return np.array(tensor.detach().cpu().numpy(), order="C")

    def _array_or(
        self, initial: float, position: str, module: Any, tensor: Any, like: npt.NDArray[Any]
    ) -> npt.NDArray[Any]:
        """Return a copy of a parameter, or what stands for one that is left out."""
        if tensor is None:
            return np.full_like(like, initial)
        return self._array(position, module, tensor)


def check_unchanged(position: str, module: Any) -> None:
    """Refuse a module that computes something else than its class does.

    Raises
    ------
    ValueError
        If it has hooks, or a function of its own.
    """
    if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
        refuse(position, module, "has hooks, which change what it computes")


def refuse(position: str, module: Any, reason: str) -> NoReturn:
    """Name a module that cannot be taken over.

    Raises
    ------
    ValueError
        Always.
    """
    raise ValueError(f"from_torch cannot take over module {position}, {module!r}: it {reason}.")


def choice_of(formula: Formula) -> Any:
    """Return how users write an activation: by its name, or by an object."""
    if formula.name.startswith("blend_"):
        of = Formula(formula.name.removeprefix("blend_"), formula.constants)
        return activations.Blend(choice_of(of))
    constants = activation_entry(formula.name).constants
    if formula.constants == tuple(constant.default for constant in constants):
        return formula.name
    cls: Any
    [cls] = [c for c in activations.OBJECTS if vars(c).get("_name") == formula.name]
    values = zip(constants, formula.constants, strict=True)
    return cls(**{c.name: int(value) if c.whole else value for c, value in values})


def parameters_of(hidden: list[Block], input_dropout: float) -> dict[str, Any]:
    """Return the constructor's parameters that describe hidden layers."""
    of_layers: dict[str, list[Any]] = {
        "activation": [choice_of(block.activation or Formula("identity")) for block in hidden],
        "normalization": [block.normalization for block in hidden],
        "dropout": [block.dropout or 0.0 for block in hidden],
    }
    parameters: dict[str, Any] = {"hidden_layer_sizes": tuple(block.units for block in hidden)}
    for name, values in of_layers.items():
        if values:
            is_one = all(value == values[0] for value in values)
            parameters[name] = values[0] if is_one else tuple(values)
    return parameters | ({"input_dropout": input_dropout} if input_dropout else {})


def link_of(last: Block) -> str | None:
    """Return what follows the last linear module, as the link of a head."""
    if last.activation is None:
        return None
    names = {"logistic": "logistic", "softmax": "softmax", "log_softmax": "softmax"}
    if last.activation.name not in names:
        raise ValueError(
            f"Module {last.position}, the last Linear, is followed by {last.activation.name}. Only "
            "Softmax, LogSoftmax and Sigmoid may stand there, of a classifier."
        )
    return names[last.activation.name]


def head_of_numbers(last: Block, loss: Any) -> HeadSpec:
    """Return the head of a regressor."""
    if link := link_of(last):
        raise ValueError(
            f"The network ends with {link}, as a classifier does. Pass its classes, or leave that "
            "module out."
        )
    per_target = regression_head(loss, 1).units
    if last.columns % per_target:
        raise ValueError(
            f"loss={loss!r} needs {per_target} outputs for each target, but the network has "
            f"{last.columns}."
        )
    return regression_head(loss, last.columns // per_target)


def head_of_classes(last: Block, given: Any, loss: Any) -> tuple[Binarizer, HeadSpec]:
    """Return the classes in their order, and the head; the last layer gets their order too."""
    link = link_of(last)
    try:
        labels = np.asarray(given)
    except ValueError:  # of several targets
        labels = np.empty((0, 0))
    if labels.ndim != 1 or len(set(labels.tolist())) != len(labels) or not len(labels):
        raise ValueError(f"classes={given!r} must be a list of different labels of one target.")
    is_multilabel = link == "logistic" and last.columns > 1
    if is_multilabel and labels.tolist() != list(range(last.columns)):
        raise ValueError(
            f"The network ends with a Sigmoid of {last.columns} outputs, each a label of its own. "
            f"Pass classes=range({last.columns}), or leave the Sigmoid out."
        )
    kind = "binary" if len(labels) <= 2 else "multiclass"
    kind = "multilabel-indicator" if is_multilabel else kind
    order = np.argsort(labels, kind="stable")
    known = {"labels": labels[order], "kind": kind, "is_sparse": False}
    binarizer: Any = binarizer_from(known)
    head = head_of(binarizer, loss, 0.0)
    if last.columns == len(labels) > 1:
        last.coef, last.intercept = last.coef[:, order], last.intercept[order]
        if head.units == 1 and head.link == "logistic" and link != "logistic":
            # A softmax of two is the logistic function of their difference.
            last.coef, last.intercept = np.diff(last.coef), np.diff(last.intercept)
            link = None
    elif last.columns == 1 and order[0] != 0:
        last.coef, last.intercept = -last.coef, -last.intercept
    if head.units != last.columns:
        raise ValueError(
            f"classes={given!r} with loss={loss!r} need {head.units} outputs, but "
            f"the network has {last.columns}."
        )
    if link not in (None, head.link):
        raise ValueError(
            f"The network ends with {link}, but loss={loss!r} with these classes with {head.link}."
        )
    last.coef = np.ascontiguousarray(last.coef)
    return binarizer, head
