"""Targets as the engines take them, and predictions as users take them."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from skmlp._formulas import name_of
from skmlp._labels import Binarizer, all_of, check_binarizer, classes_of
from skmlp.losses import Focal
from skmlp.network.losses import LOSSES
from skmlp.network.parameters import FloatArray
from skmlp.network.specs import Formula, HeadSpec, NetworkSpec

if TYPE_CHECKING:
    from sklearn.preprocessing import LabelBinarizer


def check_decodable(estimator: Any, network: NetworkSpec) -> None:
    """Refuse outputs for other classes than the binarizer knows.

    Raises
    ------
    ValueError
        If their numbers differ.
    """
    check_binarizer(estimator)
    binarizer = estimator._label_binarizer
    units = [head.units for head in network.heads]
    expected = [n_outputs(one) for one in all_of(binarizer)]
    if units != expected:
        raise ValueError(
            f"intercepts_[-1] has shape ({network.n_outputs},) for {units} units of each target, "
            f"but the classes_ of _label_binarizer need {expected} outputs: "
            f"{classes_of(binarizer)}. Fit again."
        )


def encode_labels(binarizer: Binarizer, y: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Encode labels for the engines, shape (n_samples, n_columns).

    One column of class numbers for multiclass labels (never an indicator matrix), else a
    Boolean column per output.
    """
    if isinstance(binarizer, list):
        return np.hstack([encode_labels(*pair) for pair in zip(binarizer, y.T, strict=True)])
    if binarizer.y_type_ == "multiclass":
        # classes_ is sorted and every label is known to be in it.
        classes = binarizer.classes_
        if classes.dtype.kind in "iu" and y.dtype.kind in "iu":
            # Signed and unsigned would meet in float64, which merges large integers.
            y = y.astype(classes.dtype)
        return np.searchsorted(classes, y).reshape(-1, 1)
    if is_binary(binarizer) and y.dtype == binarizer.classes_.dtype:
        return (y == binarizer.classes_[1]).reshape(-1, 1)
    indicator = np.asarray(binarizer.transform(y)).astype(bool)
    return indicator.reshape(y.shape[0], -1)


def is_binary(binarizer: "LabelBinarizer") -> bool:
    """Whether there are two classes, which is less than scikit-learn calls binary."""
    return bool(binarizer.y_type_ == "binary" and len(binarizer.classes_) == 2)


def n_outputs(binarizer: "LabelBinarizer") -> int:
    """Return the number of output units the classes need."""
    if binarizer.y_type_ == "binary":
        return 1
    return len(binarizer.classes_)


def heads_of(binarizer: Binarizer, loss: Any, label_smoothing: float) -> tuple[HeadSpec, ...]:
    """Return the output layer that the classes need.

    Parameters
    ----------
    binarizer : LabelBinarizer or list
    loss : str or Focal
    label_smoothing : float
    """
    return tuple(head_of(one, loss, float(label_smoothing)) for one in all_of(binarizer))


def head_of(binarizer: "LabelBinarizer", loss: Any, smoothing: float) -> HeadSpec:
    """Return the output units of one target, or of multilabel targets."""
    units = n_outputs(binarizer)
    name = str(name_of(loss))
    if (name, "identity") in LOSSES and LOSSES[name, "identity"].for_classes:
        return plain_head(units, name, "identity")
    miss = smoothing / units
    smoothed = (1.0 - smoothing + miss, miss)
    is_categorical = binarizer.y_type_ == "multiclass"
    if name == "focal":
        gamma = float(loss.gamma if isinstance(loss, Focal) else Focal().gamma)
        constants = (gamma, *smoothed) if is_categorical else (gamma,)
        return HeadSpec(units, Formula(name, constants), link_of(binarizer))
    if name == "log_loss" and is_categorical and smoothing > 0.0:
        return HeadSpec(units, Formula("smoothed_log_loss", smoothed), "softmax")
    return plain_head(units, name, link_of(binarizer))


@lru_cache(maxsize=256)
def plain_head(units: int, loss: str, link: str) -> HeadSpec:
    """Return output units with a loss without constants."""
    return HeadSpec(units, Formula(loss), link)


def link_of(binarizer: "LabelBinarizer") -> str:
    return "softmax" if binarizer.y_type_ == "multiclass" else "logistic"


def targets_of(
    binarizer: Binarizer,
    labels: npt.NDArray[Any],
    heads: tuple[HeadSpec, ...],
    label_smoothing: float,
) -> npt.NDArray[Any]:
    """Return labels as the losses of the heads take them, the same array where they are so.

    Parameters
    ----------
    binarizer : LabelBinarizer or list
    labels : ndarray of shape (n_samples, n_columns)
        As `encode_labels` has them.
    heads : tuple of HeadSpec
    label_smoothing : float
    """
    parts = list(labels.T[:, :, np.newaxis]) if isinstance(binarizer, list) else [labels]
    wanted = [
        targets_of_head(one, part, head, label_smoothing)
        for one, part, head in zip(all_of(binarizer), parts, heads, strict=True)
    ]
    if len(wanted) == 1:
        return wanted[0]
    is_same = all(own is part for own, part in zip(wanted, parts, strict=True))
    return labels if is_same else np.hstack(wanted)


def targets_of_head(
    binarizer: "LabelBinarizer", labels: npt.NDArray[Any], head: HeadSpec, smoothing: float
) -> npt.NDArray[Any]:
    if head.link == "identity" and binarizer.y_type_ == "multiclass":
        return labels == np.arange(head.units)  # each class against all others
    if head.link == "logistic" and head.loss.name in ("log_loss", "focal") and smoothing > 0.0:
        return np.where(labels, 1.0 - 0.5 * smoothing, 0.5 * smoothing)
    return labels


def has_probabilities(network: NetworkSpec) -> bool:
    """Whether a classifier's outputs are probabilities; otherwise they are scores."""
    return network.heads[0].link != "identity"


def threshold_of(network: NetworkSpec) -> float:
    """Return above which output a label is predicted."""
    return 0.5 if has_probabilities(network) else 0.0


def scores_of_targets(binarizer: Binarizer, outputs: FloatArray) -> Any:
    """Return scores as `decision_function` does: of two classes those of the second."""
    if isinstance(binarizer, list):
        parts = zip(binarizer, outputs_of_targets(binarizer, outputs), strict=True)
        return [scores_of_targets(one, part.copy()) for one, part in parts]
    return outputs.ravel() if binarizer.y_type_ == "binary" else outputs


def outputs_of_targets(
    binarizers: Sequence["LabelBinarizer"], outputs: FloatArray
) -> list[FloatArray]:
    """Return the outputs of each target."""
    ends = np.cumsum([n_outputs(one) for one in binarizers])
    return np.split(outputs, ends[:-1], axis=1)


def probabilities_of_targets(
    binarizers: list["LabelBinarizer"], outputs: FloatArray
) -> list[FloatArray]:
    """Return the probabilities of all classes, as an array for each target."""
    probabilities = []
    for one, part in zip(binarizers, outputs_of_targets(binarizers, outputs), strict=True):
        if len(one.classes_) == 1:
            probabilities.append(np.ones_like(part))
        else:
            probabilities.append(both_columns(part.copy()))
    return probabilities


def both_columns(outputs: FloatArray) -> FloatArray:
    """Return a column for each class, where there may be one for the second of two."""
    if outputs.shape[1] > 1:
        return outputs
    probability = np.empty((len(outputs), 2), dtype=outputs.dtype)
    probability[:, 1] = outputs[:, 0]
    probability[:, 0] = 1 - outputs[:, 0]
    return probability


def deviations_of_classes(deviations: FloatArray) -> FloatArray:
    """Return a column for each class, of which two have the same deviation."""
    return deviations if deviations.shape[1] > 1 else np.repeat(deviations, 2, axis=1)


def decode_labels(binarizer: Binarizer, outputs: FloatArray, threshold: float = 0.5) -> Any:
    """Turn the network's outputs into predicted labels, sparse if they were fitted as such.

    Outputs above the threshold mean a label, where it is not the largest one that does.
    """
    if isinstance(binarizer, list):
        parts = zip(binarizer, outputs_of_targets(binarizer, outputs), strict=True)
        return np.column_stack([decode_labels(*pair, threshold) for pair in parts])
    if binarizer.y_type_ == "multiclass":
        return np.asarray(binarizer.classes_.take(outputs.argmax(axis=1)))
    if is_binary(binarizer) and not binarizer.sparse_input_:
        return np.asarray(binarizer.classes_.take(outputs[:, 0] > threshold))
    scores = outputs.ravel() if outputs.shape[1] == 1 else outputs
    return binarizer.inverse_transform(scores, threshold)


def are_equal(predicted: npt.NDArray[Any], y: Any) -> npt.NDArray[np.bool_]:
    """Return which labels of several targets are predicted.

    Raises
    ------
    ValueError
        If there are more or fewer, or only one of the two has text.
    """
    y = np.asarray(y)
    if y.shape != predicted.shape:
        raise ValueError(
            f"y has shape {y.shape}, but the predictions for X have shape {predicted.shape}, with "
            "a column for each target."
        )
    texts = [array.dtype.kind in "USO" for array in (y, predicted)]
    if texts[0] != texts[1]:
        raise ValueError(
            f"y holds labels of {y.dtype}, but the classes of the fit are of {predicted.dtype}. "
            "Convert y to the kind of labels of the fit."
        )
    return np.asarray(predicted == y)


def is_correct(
    binarizer: Binarizer, outputs: FloatArray, targets: npt.NDArray[Any], threshold: float
) -> npt.NDArray[Any]:
    """Return which samples `decode_labels` gives the label they were encoded from.

    With several targets it is the share of those that are right.
    """
    if isinstance(binarizer, list):
        parts = zip(binarizer, outputs_of_targets(binarizer, outputs), targets.T, strict=True)
        own = [is_correct(one, part, y[:, np.newaxis], threshold) for one, part, y in parts]
        return np.mean(own, axis=0)
    if binarizer.y_type_ == "multiclass":
        return np.asarray(outputs.argmax(axis=1) == targets[:, 0])
    if len(binarizer.classes_) == 1:  # predicted whatever the output is
        return np.ones(len(targets), dtype=bool)
    return np.asarray(((outputs > threshold) == targets).all(axis=1))
