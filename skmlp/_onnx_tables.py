"""Encoders and estimators of tables as ONNX has them: `to_onnx`.

An encoder computes in double precision, and so does its graph: then both round alike. Operators are
those of opset 18, and the LabelEncoder of ``ai.onnx.ml`` for categories: the common operators of
that opset cannot compare text.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from skmlp._members import networks_of
from skmlp._onnx import (
    INSTALL,
    LABEL,
    PREDICTION,
    PROBABILITIES,
    Computed,
    computed_from,
    mean_outputs,
    plain_labels,
    precision_of,
    probabilities,
    write_prediction,
)
from skmlp._onnx_formulas import Graph, Value
from skmlp._onnx_graph import CLASSIC, InPrecision, ProtoGraph
from skmlp._optional import needed
from skmlp._table_categories import Category
from skmlp._table_columns import Floats
from skmlp._table_encoding import Encoding, fitted_encoding
from skmlp._table_numbers import BOUND, FAR, LARGEST_SCORE, Numbers, steps_of
from skmlp._temperature import fitted_temperature

DOUBLE = np.float64
WHOLE = np.iinfo(np.int64)


class TablesInOnnx:
    """Gives an estimator of tables `to_onnx`."""

    def to_onnx(self, *, dtype: npt.DTypeLike = "float32") -> Any:
        """Return encoder and networks as one ONNX model, which other programs predict with.

        It has an input for each column that the encoder uses, of its name ("x0", "x1" and so on if
        columns have none) and shape (n_samples, 1). What other columns there are (`dropped_` of the
        encoder) is not asked for. Types are

        - double for numbers, with NaN for what is missing;
        - string for categories whose levels are text;
        - int64 for those whose levels are whole numbers or truth values, as 0 and 1;
        - double for those of other numbers.

        What is missing in a category is anything that is no level of it: as ``""``, -1 or NaN.

        Of a regressor the output is "prediction", as of `predict`. Of a classifier there are two:
        "label", as of `predict`, and "probabilities", as of `predict_proba`, calibration included.

        Parameters
        ----------
        dtype : {'float32', 'float64', 'auto'}, default='float32'
            What the networks compute in, whatever the fit did; 'auto' for what that did. In single
            precision predictions agree to about six digits. Tables are encoded in double precision.

        Returns
        -------
        model : onnx.ModelProto
            In opset 18, and if there are categories version 2 of ``ai.onnx.ml``.

        Raises
        ------
        ImportError
            If ONNX is not installed.
        NotFittedError
            If there is no network yet.
        ValueError
            If a category has levels both of text and of numbers, or of more than 64 bits; if
            classes are of no type that ONNX has.

        Examples
        --------
        >>> import numpy as np
        >>> import pandas as pd
        >>> from skmlp import TabularMLPRegressor
        >>> X = pd.DataFrame({"size": np.linspace(0, 1, 60), "color": ["red", "blue"] * 30})
        >>> model = TabularMLPRegressor("plain", max_iter=1, random_state=0).fit(X, X["size"])
        >>> exported = model.to_onnx()
        >>> [one.name for one in exported.graph.input]
        ['size', 'color']
        >>> from onnxruntime import InferenceSession
        >>> session = InferenceSession(exported.SerializeToString())
        >>> inputs = {"size": np.array([[0.2]]), "color": np.array([["red"]])}
        >>> [prediction] = session.run(None, inputs)
        >>> np.allclose(prediction, model.predict(pd.DataFrame({"size": [0.2], "color": ["red"]})))
        True
        """
        onnx = needed("onnx", "to_onnx", install=INSTALL)
        check_is_fitted(self, "ensemble_")
        model: Any = self
        encoding, networks = fitted_encoding(model.encoder_), networks_of(model.ensemble_)
        reserved = (LABEL, PROBABILITIES) if is_classifier(model) else (PREDICTION,)
        graph = ProtoGraph(onnx, precision_of(networks, dtype), reserved)
        X = encoded(graph, encoding, names_of(model.encoder_))
        computed = computed_from(X, networks)
        if is_classifier(model):
            write_probabilities(graph, model, computed)
        else:
            write_prediction(graph, model.ensemble_, computed)
        return graph.model(type(model).__name__)


def names_of(encoder: Any) -> list[str]:
    """Return what the columns of a table are called."""
    default = [f"x{column}" for column in range(encoder.n_features_in_)]
    return [str(name) for name in getattr(encoder, "feature_names_in_", default)]


# Encoding


def encoded(graph: ProtoGraph, encoding: Encoding, names: list[str]) -> Value:
    """Return what an encoder makes of new inputs, one for each column that it uses."""
    double = InPrecision(graph, DOUBLE)
    types = {column: DOUBLE for column in encoding.read_as_numbers} | {
        category.column: type_of(category, names[category.column])
        for category in encoding.categories
    }
    columns = {
        column: Value(double, graph.input(names[column], (1,), types[column]).name)
        for column in sorted(types)
    }
    codes = {
        category.column: code_of(category, columns[category.column])
        for category in encoding.categories
    }
    parts = []
    numbers = encoding.numbers
    if len(numbers.columns):
        first, *others = [columns[column] for column in numbers.columns.tolist()]
        block = first.beside(*others)
        fill = double.floats(numbers.fill_values().T, "encoder_")
        parts.append(block.do("IsNaN").do("Where", fill, scaled(block, numbers)))
    parts += [flags_of(category, codes[category.column]) for category in encoding.flagged]
    for column, (there, gone) in zip(
        encoding.indicators.tolist(), encoding.indicator_flags.T.tolist(), strict=True
    ):
        is_missing = columns[column].do("IsNaN")
        parts.append(is_missing.do("Where", double.number(gone), double.number(there)))
    parts += [codes[category.column].cast(DOUBLE) for category in encoding.coded]
    # Rounded as the encoder's matrix is.
    matrix = parts[0].beside(*parts[1:]).cast(encoding.dtype)
    return Value(graph, matrix.name if graph.dtype == encoding.dtype else as_graph(graph, matrix))


def as_graph(graph: Graph, value: Value) -> str:
    """Return the name of a value in the precision of a graph."""
    return value.cast(graph.dtype).name


def type_of(category: Category, name: str) -> npt.DTypeLike:
    """Return the type of the input that levels of a category are compared with.

    Raises
    ------
    ValueError
        If there is none for all of them.
    """
    levels = category.levels.tolist()
    if all(isinstance(level, str) for level in levels):
        return np.dtype(object)
    if all(isinstance(level, int) for level in levels):
        if all(WHOLE.min <= level <= WHOLE.max for level in levels):
            return np.int64
        raise ValueError(
            f"Column {name!r} has categories that are whole numbers of more than 64 bits, which "
            "ONNX has not. Fit with them as text."
        )
    if any(isinstance(level, str) for level in levels):
        raise ValueError(
            f"Column {name!r} has categories that are text, and others that are numbers, but an "
            "input of an ONNX model has one type. Fit with all of them as text."
        )
    return DOUBLE


def code_of(category: Category, column: Value) -> Value:
    """Return codes of a category, of shape (n_samples, 1): zero for what is no level of it."""
    levels = category.levels.tolist()
    codes = list(range(1, len(levels) + 1))
    if any(isinstance(level, float) for level in levels):
        is_level = column.do("Equal", column.graph.constant(np.array([levels], dtype=DOUBLE)))
        own = column.graph.constant(np.array([codes], dtype=np.int64))
        return is_level.cast(np.int64).do("Mul", own).do("ReduceSum", column.graph.whole(1))
    kind = "strings" if isinstance(levels[0], str) else "int64s"
    keys = {f"keys_{kind}": levels if kind == "strings" else list(map(int, levels))}
    return column.do("LabelEncoder", domain=CLASSIC, default_int64=0, values_int64s=codes, **keys)


def flags_of(category: Category, codes: Value) -> Value:
    """Return the flags of a category, of shape (n_samples, n_flags)."""
    every = np.arange(len(category.levels) + 1, dtype=np.int32)
    flags = np.empty((len(every), category.width))
    category.write_flags(every, flags)
    table = codes.graph.floats(flags, "encoder_")
    return table.do("Gather", codes.shaped().name, axis=0)


# Scalings


def scaled(block: Value, numbers: Numbers) -> Value:
    """Return scaled numbers, as `Numbers.scaled` makes them of shape (n_samples, n_numbers)."""
    floats = block.graph.floats
    if numbers.quantiles:
        return normal_score(interpolated(block, numbers.quantiles))
    center, scale = numbers.center[np.newaxis], numbers.scale[np.newaxis]
    result = (block - floats(center, "encoder_")) / floats(scale, "encoder_")
    if not numbers.is_clipped:
        return result
    near = result.within(-FAR, FAR)
    ratio = near / BOUND
    return near / (ratio * ratio + 1.0).do("Sqrt")


def interpolated(block: Value, quantiles: tuple[Floats, ...]) -> Value:
    """Return which part of the rows is less than numbers, between two quantiles on a line.

    The last quantile that is not above a number is searched for by halves, in all columns at once.
    """
    graph = block.graph
    steps = steps_of(quantiles)
    lowest, highest = (
        graph.floats(steps.lowest.T, "encoder_"),
        graph.floats(steps.highest.T, "encoder_"),
    )
    n_places = steps.edges.shape[1]
    # NaN would be found nowhere; what stands for it is put in later.
    x = block.do("IsNaN").do("Where", lowest, block).do("Max", lowest).do("Min", highest)
    flat = [Value(graph, graph.constant(array.reshape(-1))) for array in steps[:3]]
    zeros = x.do("Mul", graph.number(0.0)).cast(np.int64)
    first = graph.constant((np.arange(len(quantiles)) * n_places)[np.newaxis])
    place = zeros.do("Add", first)
    for half in range(1, n_places.bit_length()):
        further = place.do("Add", graph.whole(n_places >> half))
        is_below = flat[0].do("Gather", further, axis=0).do("LessOrEqual", x)
        place = is_below.do("Where", further, place)
    edge, part, slope = (values.do("Gather", place, axis=0) for values in flat)
    return slope * (x - edge) + part


# M. J. Wichura (1988), Algorithm AS 241: the percentage points of the normal distribution, Applied
# Statistics 37(3), 477-484, PPND16. Ascending powers of numerators and denominators, for
# probabilities about one half, and for those further away.
MIDDLE = (
    (
        *(3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3),
        *(1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4),
        *(3.3430575583588128105e4, 2.5090809287301226727e3),
    ),
    (
        *(1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3),
        *(2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4),
        5.2264952788528545610e3,
    ),
)
TAILS = (
    (
        *(1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0),
        *(3.64784832476320460504e0, 1.27045825245236838258e0, 2.41780725177450611770e-1),
        *(2.27238449892691845833e-2, 7.74545014278341407640e-4),
    ),
    (
        *(1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1),
        *(1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4),
        1.05075007164441684324e-9,
    ),
)
SPLIT, MIDDLE_SHIFT, TAIL_SHIFT = 0.425, 0.180625, 1.6
# Scores stay this far from the ends; the third formula of that source is for what is beyond.
LEAST_PART = float(ndtr(-LARGEST_SCORE))


def normal_score(part: Value) -> Value:
    """Return the normal scores of parts, within those that `to_normal` keeps to."""
    middle = part - 0.5
    r = MIDDLE_SHIFT - middle * middle
    about_half = middle * ratio_of(r, MIDDLE)
    # From the end that is nearer, which does not cancel.
    nearer = part.do("Min", 1.0 - part).do("Max", LEAST_PART)
    root = (-nearer.do("Log")).do("Sqrt") - TAIL_SHIFT
    further = middle.do("Sign") * ratio_of(root, TAILS)
    is_middle = middle.do("Abs").do("LessOrEqual", SPLIT)
    return is_middle.do("Where", about_half, further).within(-LARGEST_SCORE, LARGEST_SCORE)


def ratio_of(x: Value, polynomials: tuple[tuple[float, ...], tuple[float, ...]]) -> Value:
    above, below = (polynomial(x, coefficients) for coefficients in polynomials)
    return above / below


def polynomial(x: Value, coefficients: tuple[float, ...]) -> Value:
    result = x * coefficients[-1] + coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        result = result * x + coefficient
    return result


# Classifiers


def write_probabilities(graph: ProtoGraph, model: Any, computed: list[Computed]) -> None:
    """Make labels and probabilities of a classifier outputs."""
    n_classes = len(model.classes_)
    labels = plain_labels(model.classes_)
    ensemble = model.ensemble_
    head = computed[0].network.head
    temperatures = [fitted_temperature(one.estimator) for one in computed]
    outputs = mean_outputs(head, [one.raw for one in computed], temperatures)
    if n_classes == 1:
        both = 0.0 * outputs + 1.0
    else:
        binarizer = ensemble._label_binarizer
        both, _ = probabilities(outputs, head.units, binarizer, is_only=True)
        both = at_temperature(both, model.temperature_)
        if model.smoothing_ > 0.0:
            both = both * (1.0 - model.smoothing_) + model.smoothing_ / n_classes
    number = both.do("ArgMax", axis=1, keepdims=0)
    label = Value(graph, graph.constant(labels)).do("Gather", number)
    graph.output(LABEL, label, (), labels.dtype)
    graph.output(PROBABILITIES, both, (n_classes,))


def at_temperature(values: Value, temperature: float) -> Value:
    """Return probabilities at a temperature, as `_calibration.at_temperature` does."""
    if temperature == 1.0:
        return values
    graph = values.graph
    wide = Value(InPrecision(graph, DOUBLE), values.cast(DOUBLE).name)
    scores = wide.do("Max", float(np.finfo(DOUBLE).tiny)).do("Log") / temperature
    return Value(graph, as_graph(graph, scores.do("Softmax", axis=1)))
