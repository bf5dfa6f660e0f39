"""Networks of PyTorch, taken over by estimators. PyTorch is imported when that is asked for."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from skmlp._assembling import CLASSIFIER, REGRESSOR, assembled, binarizer_from, own
from skmlp._labels import Binarizer, are_known
from skmlp._networks import custom_choices, describe_network
from skmlp._optional import needed
from skmlp._plain_values import is_label
from skmlp._targets import head_of
from skmlp._torch import COUNTERPARTS, INSTALL, class_of
from skmlp.activations import choice_of
from skmlp.losses import regression_head
from skmlp.network.activations import blend_of
from skmlp.network.normalization import EPSILON
from skmlp.network.parameters import layout_of
from skmlp.network.parts import Trained
from skmlp.network.specs import Formula, HeadSpec

if TYPE_CHECKING:
    from skmlp._classifier import MLPClassifier
    from skmlp._regressor import MLPRegressor

# Modules that are taken besides `COUNTERPARTS`.
OTHERS = {
    *("Linear", "BatchNorm1d", "LayerNorm", "Dropout", "Flatten", "Sequential"),
    *("PReLU", "LogSoftmax", "Blend"),
}
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
    name = REGRESSOR if labels is None else CLASSIFIER
    template = own(name)(**parameters)
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
    intercepts = [block.intercept for block in blocks]
    extras = np.concatenate([coefs[0][:0, 0], *pieces])
    trained = Trained(network, coefs, intercepts, extras)
    return assembled(name, parameters, trained, binarizer, attributes)


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
        self._torch, self._nn = torch, torch.nn
        self._dtypes = {torch.float32: np.float32, torch.float64: np.float64}
        names = {counterpart.name for counterpart in COUNTERPARTS.values()} | OTHERS
        self._known = {class_of(torch, name) for name in names}
        self.input_dropout: float | None = None
        self._blocks: list[Block] = []
        self._dtype: Any = None

    def take(self, position: str, module: Any) -> None:
        """Take the next module."""
        kind = type(module)
        self._check_kind(position, module)
        check_unchanged(position, module)
        if kind is self._nn.Linear:
            self._take_linear(position, module)
        elif kind is self._nn.Identity or self._is_flat(module):
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

    def _check_kind(self, position: str, module: Any) -> None:
        """Refuse a class that is derived from one of those that are known."""
        bases = [cls for cls in type(module).__mro__ if cls in self._known]
        if not bases or bases[0] is type(module):
            return
        if isinstance(module, self._nn.modules.lazy.LazyModuleMixin):
            refuse(
                position, module, "has no parameters yet. Pass a batch through the network first"
            )
        refuse(position, module, f"is of a subclass of {bases[0].__name__}, with code of its own")

    def _take_linear(self, position: str, module: Any) -> None:
        shape = tuple(module.weight.shape)
        is_matrix = len(shape) == 2 and 0 not in shape
        if not is_matrix or (module.bias is not None and module.bias.shape != shape[:1]):
            bias = None if module.bias is None else tuple(module.bias.shape)
            refuse(position, module, f"has weights of shape {shape} and a bias of shape {bias}")
        coef = np.ascontiguousarray(self._array(position, module, module.weight).T)
        if self._blocks and self._blocks[-1].units != len(coef):
            before = self._blocks[-1].units
            refuse(position, module, f"takes {len(coef)} inputs, but there are {before}")
        intercept = self._array_or(0.0, position, module, module.bias, coef[0])
        self._blocks.append(Block(position, coef, intercept))

    def _is_flat(self, module: Any) -> bool:
        """Whether it makes a row of each sample, which it is."""
        is_one = type(module) is self._nn.Flatten
        return is_one and (module.start_dim, module.end_dim) == (1, -1)

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
        elif type(module) is class_of(self._torch, "Blend"):
            check_unchanged(position, module.activation)
            of = self._formula(position, module.activation)
            block.activation = Formula(blend_of(of.name), of.constants)
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
            is_it = type(module) is class_of(self._torch, counterpart.name)
            if is_it and counterpart.computes_it(module):
                values = tuple(float(getattr(module, own)) for own in counterpart.constants)
                return Formula(name, values)
        refuse(position, module, "has no counterpart")

    def _array(self, position: str, module: Any, tensor: Any) -> npt.NDArray[Any]:
        """Return a copy of a parameter."""
        if tensor.is_meta:
            refuse(position, module, 'is on the device "meta", where tensors have no numbers')
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
    link, labels = link_of(last), labels_of(given)
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
    link = put_in_order(last, order, head, link)
    if head.units != last.columns:
        raise ValueError(
            f"classes={given!r} with loss={loss!r} need {head.units} outputs, but "
            f"the network has {last.columns}."
        )
    if link not in (None, head.link):
        raise ValueError(
            f"The network ends with {link}, but loss={loss!r} with these classes with {head.link}."
        )
    return binarizer, head


def labels_of(given: Any) -> npt.NDArray[Any]:
    """Return the labels of the outputs as they are given.

    Raises
    ------
    ValueError
        If they are not the labels of one target, each another one, and in some order.
    """
    try:
        labels = np.asarray(given)
        is_valid = labels.ndim == 1 and len(labels) > 0 and all(map(is_label, labels.tolist()))
        is_valid = is_valid and are_known(np.sort(labels), np.sort(labels))  # each another one
    except (TypeError, ValueError):
        is_valid = False
    if not is_valid:
        raise ValueError(
            f"classes={given!r} must be a list of different labels of one target: all of them "
            "text, or all of them numbers."
        )
    return labels


def put_in_order(
    last: Block, order: npt.NDArray[np.intp], head: HeadSpec, link: str | None
) -> str | None:
    """Turn outputs of the last layer into those of ordered classes; return what follows them."""
    if last.columns == len(order) > 1:
        last.coef, last.intercept = last.coef[:, order], last.intercept[order]
        if head.units == 1 and head.link == "logistic" and link != "logistic":
            # A softmax of two is the logistic function of their difference.
            last.coef, last.intercept = np.diff(last.coef), np.diff(last.intercept)
            link = None
    elif last.columns == 1 and order[0] != 0:
        last.coef, last.intercept = -last.coef, -last.intercept
    last.coef = np.ascontiguousarray(last.coef)
    return link
