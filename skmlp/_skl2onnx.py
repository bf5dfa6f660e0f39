"""Pipelines with our networks as ONNX models: converters for skl2onnx.

skl2onnx looks converters up by the exact class of an estimator. Its outputs follow its own
conventions, not the shapes of our methods: other converters of a pipeline rely on them.
"""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from skmlp._assembling import NAMES, own
from skmlp._labels import MULTILABEL, all_of, has_several_targets
from skmlp._members import networks_of
from skmlp._onnx import (
    common_labels,
    computed_from,
    flat,
    prediction_of,
    shape_of_prediction,
    targets_of,
)
from skmlp._onnx_formulas import OPSET, Graph, Value
from skmlp._optional import needed
from skmlp._targets import check_decodable, has_probabilities, is_binary

SKL2ONNX, WHAT = "skl2onnx", "register_skl2onnx"
INSTALL = "skmlp[skl2onnx]"
# What its tables call our networks.
ALIASES = {name: f"Skmlp{name}" for name in NAMES}
# What it lets users choose of its own classifiers.
OPTIONS = {
    "zipmap": [True, False, "columns"],
    "output_class_labels": [False, True],
    "nocl": [True, False],
}


def register_skl2onnx() -> None:
    """Let skl2onnx convert pipelines, searches and ensembles in which our networks stand.

    ``import skmlp`` does it if skl2onnx is imported already; else it has to be called once, before
    the first conversion. Calling it again does no harm.

    What skl2onnx then makes of a classifier are labels and probabilities (or scores, of a hinge
    loss), with all options of its own classifiers: ``options={"zipmap": False}`` gives them as
    arrays. Booleans become whole numbers. With several targets probabilities are a sequence of
    arrays. A regressor's prediction is a matrix, which has one column where it is one number.
    ``target_opset`` must be at least 18.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.

    See Also
    --------
    MLPClassifier.to_onnx : A network by itself, without skl2onnx.

    Examples
    --------
    >>> import numpy as np
    >>> import skl2onnx
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> import skmlp
    >>> skmlp.register_skl2onnx()
    >>> X = np.linspace(-1, 1, 40).reshape(20, 2)
    >>> network = skmlp.MLPRegressor(solver="lbfgs", random_state=0)
    >>> model = make_pipeline(StandardScaler(), network).fit(X, X[:, 0])
    >>> exported = skl2onnx.to_onnx(model, X[:1], target_opset=18)
    """
    skl2onnx = needed(SKL2ONNX, WHAT, install=INSTALL)
    for name in NAMES:
        # It overwrites: while scikit-learn is patched skl2onnx takes our classes for its own.
        skl2onnx.update_registered_converter(
            own(name),
            ALIASES[name],
            shape_of_outputs,
            convert,
            **({"parser": parse_classifier, "options": OPTIONS} if name == NAMES[0] else {}),
        )


def register_if_imported() -> None:
    """Register the converters if skl2onnx is there and complete."""
    if hasattr(sys.modules.get(SKL2ONNX), "update_registered_converter"):
        register_skl2onnx()


def part_of_skl2onnx(module: str) -> Any:
    return needed(f"{SKL2ONNX}.{module}", WHAT, install=INSTALL)


class ContainerGraph(Graph):
    """The graph that skl2onnx makes of a pipeline.

    Parameters
    ----------
    onnx : module
    dtype : dtype
    scope, container : skl2onnx.common.Scope, skl2onnx.common.ModelComponentContainer
        What it gives to converters.
    """

    def __init__(self, onnx: Any, dtype: npt.DTypeLike, scope: Any, container: Any) -> None:
        super().__init__(onnx, dtype)
        self._scope, self._container = scope, container

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = str(self._scope.get_unique_variable_name(operator))
        self._add(operator, inputs, name, attributes)
        return name

    def constant(self, array: npt.NDArray[Any]) -> str:
        name = str(self._scope.get_unique_variable_name("constant"))
        tensor: Any = self.onnx.numpy_helper.from_array(array, name)
        if array.dtype == object:  # of a tensor it would not take text
            tensor = [label.encode("utf-8") for label in array]
        self._container.add_initializer(name, self.code(array.dtype), array.shape, tensor)
        return name

    def output(self, variable: Any, value: Value) -> None:
        """Make a value one of the outputs that skl2onnx has declared."""
        self._add("Identity", [value.name], variable.full_name, {})

    def sequence(self, variable: Any, values: Sequence[Value]) -> None:
        """Make several values such an output, as a sequence."""
        names = [value.name for value in values]
        self._add("SequenceConstruct", names, variable.full_name, {})

    def _add(
        self, operator: str, inputs: Sequence[str], output: str, attributes: dict[str, Any]
    ) -> None:
        name = self._scope.get_unique_operator_name(operator)
        # Without a version it takes the latest one, and the whole model is said to be of that.
        self._container.add_node(
            operator, list(inputs), [output], op_version=OPSET, name=name, **attributes
        )


# What skl2onnx calls, by the names of its parameters


def parse_classifier(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    """Declare the outputs of a classifier."""
    check_is_fitted(model, "_label_binarizer")
    if not has_several_targets(model):
        options = scope.get_options(model, {"zipmap": True})
        if len(model.classes_) == 1 and options["zipmap"] is not False:
            raise ValueError(
                f"zipmap={options['zipmap']!r} needs a probability for each class, but with a "
                "single class there are two, as predict_proba returns them. Use "
                "options={'zipmap': False}."
            )
        parsers = part_of_skl2onnx("_parse")
        return parsers._parse_sklearn_classifier(scope, model, inputs, custom_parsers)
    if scope.get_options(model, {"output_class_labels": False})["output_class_labels"]:
        raise ValueError(
            "output_class_labels=True does not go with several targets. Leave it out: classes_ "
            "holds a list of them."
        )
    types = part_of_skl2onnx("common.data_types")
    operator = scope.declare_local_operator(ALIASES[NAMES[0]], model)
    operator.inputs = inputs
    probabilities = types.SequenceType(types.guess_tensor_type(inputs[0].type))
    operator.outputs.append(scope.declare_local_variable("label", types.Int64TensorType()))
    operator.outputs.append(scope.declare_local_variable("probabilities", probabilities))
    return operator.outputs


def shape_of_outputs(operator: Any) -> None:
    """Set types and shapes of what a network puts out."""
    model, variable = operator.raw_operator, operator.inputs[0]
    part_of_skl2onnx("common.utils").check_input_and_output_numbers(operator, input_count_range=1)
    types = part_of_skl2onnx("common.data_types")
    floats = type(types.guess_tensor_type(variable.type))
    n_rows, network = variable.get_first_dimension(), networks_of(model)[0][1].network
    if not is_classifier(model):
        operator.outputs[0].type = floats([n_rows, *shape_of_prediction(network)])
        return
    check_decodable(model, network)
    classes = labels_of(model, operator.scope_inst)
    is_text = classes[0].dtype == object
    labels = types.StringTensorType if is_text else types.Int64TensorType
    if len(network.heads) > 1:
        operator.outputs[0].type = labels([n_rows, len(network.heads)])
        operator.outputs[1].type = types.SequenceType(floats([n_rows, None]))
        return
    n_columns = network.head.units
    is_multilabel = model._label_binarizer.y_type_ == MULTILABEL
    operator.outputs[0].type = labels([n_rows, n_columns] if is_multilabel else [n_rows])
    operator.outputs[1].type = floats([n_rows, max(n_columns, 2)])


def convert(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a network.

    Raises
    ------
    ValueError
        If the model is to be of too old a version, or has what ONNX has not.
    """
    opset = container.target_opset_onnx
    if opset < OPSET:
        raise ValueError(
            f"skmlp's networks need target_opset={OPSET} or later, but it is {opset}. Leave it "
            "out, or raise it."
        )
    model, variable = operator.raw_operator, operator.inputs[0]
    types = part_of_skl2onnx("common.data_types")
    is_double = isinstance(variable.type, types.DoubleTensorType)
    dtype = "float64" if is_double else "float32"
    graph = ContainerGraph(needed("onnx", WHAT, install=INSTALL), dtype, scope, container)
    X = Value(graph, variable.full_name)
    if not isinstance(variable.type, types.FloatTensorType | types.DoubleTensorType):
        X = X.cast(dtype)
    computed = computed_from(X, networks_of(model))
    network = computed[0].network
    if not is_classifier(model):
        graph.output(operator.outputs[0], prediction_of(computed))
        return
    targets = targets_of(model, computed, labels_of(model, scope))
    scores = [target.scores for target in targets]
    if not has_probabilities(network):  # a column for each class
        binarizers = all_of(model._label_binarizer)
        scores = [
            (-score).beside(score) if is_binary(one) else score
            for score, one in zip(scores, binarizers, strict=True)
        ]
    if len(targets) > 1:
        first, *others = (target.labels for target in targets)
        graph.output(operator.outputs[0], first.beside(*others))
        graph.sequence(operator.outputs[1], scores)
        return
    is_multilabel = model._label_binarizer.y_type_ == MULTILABEL
    labels = targets[0].labels
    graph.output(operator.outputs[0], labels if is_multilabel else flat(labels))
    graph.output(operator.outputs[1], scores[0])


def labels_of(model: Any, scope: Any) -> list[npt.NDArray[Any]]:
    """Return the labels of each target's classes, whole numbers or text, as skl2onnx has them.

    Raises
    ------
    ValueError
        If they are anything else.
    """
    classes = [one.classes_ for one in all_of(model._label_binarizer)]
    if scope.get_options(model, {"nocl": False})["nocl"]:
        return [np.arange(len(labels)) for labels in classes]
    found = common_labels(classes)
    if found[0].dtype == object:
        return found
    with np.errstate(invalid="ignore"):  # of floats that are too large
        whole = [labels.astype(np.int64) for labels in found]
    if any((one != labels).any() for one, labels in zip(whole, found, strict=True)):
        raise ValueError(
            f"classes_={model.classes_!r} are no whole numbers, but skl2onnx has whole numbers and "
            "text for labels. Fit with such labels, or use to_onnx."
        )
    return whole
