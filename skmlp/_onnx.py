"""Networks as ONNX has them: `to_onnx`. ONNX is imported when that is called."""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from skmlp._labels import MULTILABEL, all_of
from skmlp._members import networks_of
from skmlp._onnx_formulas import (
    LINK_EXPRESSIONS,
    Value,
    activated,
    embedded,
    normalized,
    product,
)
from skmlp._onnx_graph import ProtoGraph
from skmlp._optional import needed
from skmlp._target_scale import fitted_scaling
from skmlp._targets import check_decodable, has_probabilities, is_binary, threshold_of
from skmlp._temperature import fitted_temperature
from skmlp._validation import resolve_dtype
from skmlp.network.activations import CUSTOM_ACTIVATIONS
from skmlp.network.folding import folded
from skmlp.network.normalization import EPSILON
from skmlp.network.parts import Trained, named_extras
from skmlp.network.specs import HeadSpec, LayerSpec, NetworkSpec

if TYPE_CHECKING:
    from sklearn.preprocessing import LabelBinarizer

INSTALL = "skmlp[onnx]"
INPUT, LABEL, PREDICTION = "X", "label", "prediction"
PROBABILITIES, SCORES = "probabilities", "scores"
# What labels are -> what holds them.
LABELS: dict[Any, Any] = {
    str: object,
    bool | np.bool_: np.bool_,
    Integral: np.int64,
    Real: np.float64,
}


class InOnnx:
    """Gives an estimator `to_onnx`."""

    def to_onnx(self, *, dtype: npt.DTypeLike = "float32") -> Any:
        """Return the fitted network as an ONNX model, which other programs predict with.

        Of an ensemble all networks are in one graph, which puts out the means over them.

        Its input "X", of shape (n_samples, n_features), is of the type `dtype`. Outputs are shaped
        as the methods here return them. Of a regressor it is "prediction", as of `predict` (without
        standard deviations). Of a classifier there are two: "label", as of `predict`, and
        "probabilities", as of `predict_proba`, or with a hinge loss "scores", as of
        `decision_function`. With several targets there is one of the latter for each,
        "probabilities_0" and so on. Labels are whole numbers (int64), floats, booleans or text.

        Parameters
        ----------
        dtype : {'float32', 'float64', 'auto'}, default='float32'
            What the model computes in, whatever the fit did; 'auto' for what that did. NumPy's
            names are taken too. In single precision predictions agree to about six digits. In
            double precision the activation 'gelu' is still computed in single precision, because
            ONNX Runtime has no other.

        Returns
        -------
        model : onnx.ModelProto
            In opset 18, without operators of other domains. It is valid ONNX: save it by
            ``onnx.save(model, path)``, or pass ``model.SerializeToString()`` to a runtime.

        Raises
        ------
        ImportError
            If ONNX is not installed.
        NotFittedError
            If there is no network yet.
        ValueError
            If an activation is made of functions of your own, if classes are no numbers, text or
            booleans, or if weights are not finite in this precision.

        See Also
        --------
        skmlp.register_skl2onnx : Whole pipelines as ONNX models.

        Examples
        --------
        >>> from skmlp import MLPClassifier
        >>> model = MLPClassifier((5,), solver="lbfgs", random_state=0)
        >>> model = model.fit([[0.0], [1.0], [2.0], [3.0]], ["low", "low", "high", "high"])
        >>> exported = model.to_onnx()
        >>> [output.name for output in exported.graph.output]
        ['label', 'probabilities']

        Another program, or ONNX Runtime, predicts with it:

        >>> import numpy as np
        >>> from onnxruntime import InferenceSession
        >>> session = InferenceSession(exported.SerializeToString())
        >>> label, probabilities = session.run(None, {"X": np.array([[0.5], [2.5]], np.float32)})
        >>> label.tolist()
        ['low', 'high']
        """
        onnx = needed("onnx", "to_onnx", install=INSTALL)
        networks = networks_of(self)
        graph = ProtoGraph(onnx, precision_of(networks, dtype))
        X = graph.input(INPUT, (networks[0][1].network.n_features,))
        computed = computed_from(X, networks)
        write = write_classes if is_classifier(self) else write_prediction
        write(graph, self, computed)
        return graph.model(type(self).__name__)


def precision_of(networks: Sequence[tuple[Any, Trained]], dtype: npt.DTypeLike) -> str:
    """Return the name of the precision that a model of some networks computes in.

    Raises
    ------
    ValueError
        If `dtype` is none of those that `to_onnx` takes.
    """
    name = resolve_dtype(dtype)
    if name != "auto":
        return name
    are_single = (trained.coefs[0].dtype == np.float32 for _, trained in networks)
    return "float32" if all(are_single) else "float64"


# What networks consist of


class Computed(NamedTuple):
    """A network in a graph: of an ensemble there are several.

    Attributes
    ----------
    estimator : MLPClassifier or MLPRegressor
    network : NetworkSpec
    raw : Value
        Its raw predictions.
    """

    estimator: Any
    network: NetworkSpec
    raw: Value


def computed_from(X: Value, networks: Sequence[tuple[Any, Trained]]) -> list[Computed]:
    """Return networks as they compute raw predictions for X; the same one is computed once."""
    different = {id(estimator): (estimator, trained) for estimator, trained in networks}
    computed = {
        key: Computed(estimator, trained.network, raw_predictions(X, trained))
        for key, (estimator, trained) in different.items()
    }
    return [computed[id(estimator)] for estimator, _ in networks]


def mean_of(values: Sequence[Value]) -> Value:
    """Return the mean of values; of one that itself."""
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total / float(len(values)) if len(values) > 1 else total


def raw_predictions(X: Value, trained: Trained) -> Value:
    """Return the raw predictions of a network for X.

    Raises
    ------
    ValueError
        If it has functions of users' own, or numbers that are not finite in this precision.
    """
    trained = Trained(*folded(*trained))
    named = named_extras(trained.network, trained.extras)
    values = embedded(X, trained.network, named) if trained.network.inputs.embedding else X
    for number, layer in enumerate(trained.network.layers):
        own = {
            name: X.graph.floats(array, f"{name} of hidden layer {number}")
            for (of, name), array in named.items()
            if of == number
        }
        values = hidden_outputs(product(values, trained, number), number, layer, own)
    return product(values, trained, len(trained.network.layers))


def hidden_outputs(z: Value, number: int, layer: LayerSpec, own: dict[str, Value]) -> Value:
    """Return what the units of a hidden layer make of its product."""
    if layer.activation.name in CUSTOM_ACTIVATIONS:
        raise ValueError(
            f"The activation of hidden layer {number} is made of functions of your own, for which "
            "ONNX has no operators. ONNX models can have all other activations."
        )
    if layer.normalization == "layer":  # that of batches has been folded
        z = own["gain"] * normalized(z, EPSILON) + own["shift"]
    return activated(z, layer, [own[learned.name] for learned in layer.entry.learned])


# Regressors


def shape_of_prediction(network: NetworkSpec) -> tuple[int, ...]:
    """Return the shape of each row that is predicted, one column for a single number."""
    n_targets = network.target_columns
    if not network.head.entry.has_any_number:
        return (n_targets,)
    n_each = network.head.units // n_targets
    return (n_each,) if n_targets == 1 else (n_targets, n_each)


def prediction_of(computed: Sequence[Computed]) -> Value:
    """Return what a regressor predicts, with rows of the shape above."""
    return mean_of([prediction_of_one(*one) for one in computed])


def prediction_of_one(estimator: Any, network: NetworkSpec, raw: Value) -> Value:
    """Return what one network predicts."""
    head, n_targets = network.head, network.target_columns
    values = LINK_EXPRESSIONS[head.link](raw, n_targets, head.units)
    n_each = head.units // n_targets if head.entry.has_any_number else 1
    scaling = fitted_scaling(estimator, network)
    if scaling is not None:
        floats = raw.graph.floats
        scale = floats(np.tile(scaling.scale, n_each), "y_scale_")
        values = values * scale + floats(np.tile(scaling.mean, n_each), "y_mean_")
    if head.entry.has_any_number and n_targets > 1:
        # From the first number of every target, the second of every target, and so on.
        return values.shaped(n_each, n_targets).do("Transpose", perm=(0, 2, 1))
    return values


def write_prediction(graph: ProtoGraph, estimator: Any, computed: Sequence[Computed]) -> None:
    """Make the prediction of a regressor an output."""
    network = computed[0].network
    values, shape = prediction_of(computed), shape_of_prediction(network)
    if network.target_columns == 1 and not network.head.entry.has_any_number:
        values, shape = flat(values), ()
    graph.output(PREDICTION, values, shape)


def flat(column: Value) -> Value:
    """Return a matrix of one column as a vector."""
    return column.do("Squeeze", column.graph.whole(1))


# Classifiers


class TargetOutputs(NamedTuple):
    """What a classifier predicts of one target, or of all labels of multilabel targets.

    Attributes
    ----------
    labels : Value of shape (n_samples, 1), or (n_samples, n_labels) if multilabel
    scores : Value of shape (n_samples, n_scores)
        Probabilities, or scores of a hinge loss.
    n_scores : int
    """

    labels: Value
    scores: Value
    n_scores: int


def targets_of(
    estimator: Any, computed: Sequence[Computed], classes: Sequence[npt.NDArray[Any]]
) -> list[TargetOutputs]:
    """Return what a classifier predicts of each target.

    Parameters
    ----------
    estimator : MLPClassifier
        Perhaps an ensemble of those that are computed.
    computed : sequence of Computed
    classes : sequence of ndarray
        The labels of each target's classes, as they shall be put out.
    """
    binarizers = all_of(estimator._label_binarizer)
    network = computed[0].network
    targets, begin = [], 0
    for head, one, labels in zip(network.heads, binarizers, classes, strict=True):
        end = begin + head.units
        owns = [
            raw if head.units == network.n_outputs else raw.columns(begin, end)
            for _, _, raw in computed
        ]
        begin = end
        temperatures = [1.0] * len(owns)
        if has_probabilities(network):
            temperatures = [fitted_temperature(member) for member, _, _ in computed]
        outputs = mean_outputs(head, owns, temperatures)
        # The label of one network is that of its scores before they are divided by anything.
        is_as_is = len(owns) > 1 or temperatures[0] == 1.0
        decided = outputs if is_as_is else mean_outputs(head, owns, [1.0])
        label = predicted_labels(decided, one, labels, threshold_of(network))
        scores, n_scores = outputs, head.units
        if has_probabilities(network):
            is_only = len(binarizers) == 1
            scores, n_scores = probabilities(outputs, head.units, one, is_only=is_only)
        targets.append(TargetOutputs(label, scores, n_scores))
    return targets


def mean_outputs(head: HeadSpec, raw: Sequence[Value], temperatures: Sequence[float]) -> Value:
    """Return the mean of what raw predictions of networks, divided by temperatures, become."""
    link = LINK_EXPRESSIONS[head.link]
    return mean_of(
        [
            link(own if temperature == 1.0 else tempered(own, temperature), 1, head.units)
            for own, temperature in zip(raw, temperatures, strict=True)
        ]
    )


def predicted_labels(
    outputs: Value, binarizer: "LabelBinarizer", classes: npt.NDArray[Any], threshold: float
) -> Value:
    """Return the labels that are predicted, as `decode_labels` does."""
    if binarizer.y_type_ == MULTILABEL:
        return outputs.is_above(threshold, np.int64)
    if is_binary(binarizer):
        number = outputs.is_above(threshold, np.int64)
    else:
        number = outputs.do("ArgMax", axis=1)
    return Value(outputs.graph, outputs.graph.constant(classes)).do("Gather", number)


def tempered(raw: Value, temperature: float) -> Value:
    """Return raw predictions divided by a temperature, never infinite, as `scaled` does."""
    floats = raw.graph.dtype.type
    smallest, largest = float(np.nextafter(floats(0), floats(1))), float(np.finfo(floats).max)
    return (raw / min(max(temperature, smallest), largest)).within(-largest, largest)


def probabilities(
    outputs: Value, n_units: int, binarizer: "LabelBinarizer", *, is_only: bool
) -> tuple[Value, int]:
    """Return the probabilities of classes, and how many for each row, as `predict_proba` does."""
    if n_units > 1:
        return outputs, n_units
    if len(binarizer.classes_) == 1 and not is_only:
        return 0.0 * outputs + 1.0, 1
    return (1.0 - outputs).beside(outputs), 2


def write_classes(graph: ProtoGraph, estimator: Any, computed: Sequence[Computed]) -> None:
    """Make labels, and probabilities or scores, of a classifier outputs."""
    network = computed[0].network
    check_is_fitted(estimator, "_label_binarizer")
    check_decodable(estimator, network)
    binarizer = estimator._label_binarizer
    classes = common_labels([one.classes_ for one in all_of(binarizer)])
    targets = targets_of(estimator, computed, classes)
    if len(targets) > 1:
        labels = targets[0].labels.beside(*(target.labels for target in targets[1:]))
        graph.output(LABEL, labels, (len(targets),), classes[0].dtype)
    elif binarizer.y_type_ == MULTILABEL:
        graph.output(LABEL, targets[0].labels, (network.n_outputs,), np.int64)
    else:
        graph.output(LABEL, flat(targets[0].labels), (), classes[0].dtype)
    name = PROBABILITIES if has_probabilities(network) else SCORES
    for number, target in enumerate(targets):
        own = f"{name}_{number}" if len(targets) > 1 else name
        if target.n_scores == 1 and not has_probabilities(network):
            graph.output(own, flat(target.scores), ())
        else:
            graph.output(own, target.scores, (target.n_scores,))


def common_labels(classes: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    """Return the classes of all targets as one type that ONNX has, as a matrix of them would be."""
    common = np.result_type(*(labels.dtype for labels in classes))
    found = [plain_labels(labels.astype(common)) for labels in classes]
    if len({labels.dtype for labels in found}) > 1:
        raise ValueError(
            "classes_ of the targets are objects of several types, but an output of an ONNX model "
            "has one. Fit with labels of one type."
        )
    return found


def plain_labels(classes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return labels as one of the types that ONNX has for them; text as objects.

    Raises
    ------
    ValueError
        If there is none that can hold them.
    """
    labels = classes.tolist() if classes.dtype.kind in "biufUO" else [None]
    for kind, dtype in LABELS.items():
        if all(isinstance(label, kind) for label in labels):
            try:
                return np.array(labels, dtype=dtype)
            except OverflowError:
                break
    raise ValueError(
        f"classes_={classes!r} ({classes.dtype}) are no labels that ONNX has: it has whole numbers "
        "of 64 bits, floats, booleans and text. Fit with labels of one of these types."
    )
