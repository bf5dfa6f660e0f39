"""Weights of classes, as the parameter `class_weight` gives them."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.class_weight import compute_class_weight

from skmlp._labels import MULTILABEL, Binarizer, all_of

Weights = npt.NDArray[np.float64]


def class_weights(
    class_weight: Any,
    binarizer: Binarizer,
    labels: npt.NDArray[Any],
    sample_weight: Weights | None,
) -> Weights:
    """Return the weight of each sample's classes, which is the product over several columns.

    'balanced' gives all classes the same total weight, the given weights of samples counted.

    Parameters
    ----------
    class_weight : dict, list of dict or 'balanced'
    binarizer : LabelBinarizer or list
        What the classes are known by.
    labels : ndarray of shape (n_samples, n_columns)
        As `skmlp._targets.encode_labels` has them.
    sample_weight : ndarray of shape (n_samples,) or None

    Returns
    -------
    weights : ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
        If `class_weight` does not fit the classes, or has weights that are none.
    """
    classes = classes_of_columns(binarizer, labels.shape[1])
    given = weights_of_columns(class_weight, len(classes))
    product = np.ones(len(labels))
    for own, weights, column in zip(classes, given, labels.T, strict=True):
        numbers = column.astype(np.intp)
        if isinstance(weights, str):
            by_class = balanced(numbers, len(own), sample_weight)
        else:
            # Its messages on classes that are missing are scikit-learn's.
            by_class = np.asarray(compute_class_weight(weights, classes=own, y=own))
        if not (np.isfinite(by_class).all() and (by_class >= 0).all()):
            raise ValueError(
                f"class_weight must hold finite weights that are not negative, got {weights!r}. "
                "Use zero to leave a class out."
            )
        product *= by_class[numbers]
    return product


def classes_of_columns(binarizer: Binarizer, n_columns: int) -> list[npt.NDArray[Any]]:
    """Return the classes that the labels of each column number."""
    binarizers = all_of(binarizer)
    if binarizers[0].y_type_ == MULTILABEL:
        return [np.array([0, 1])] * n_columns
    return [one.classes_ for one in binarizers]


def weights_of_columns(class_weight: Any, n_columns: int) -> list[Any]:
    """Return the parameter for each column.

    Raises
    ------
    ValueError
        If there are more or fewer than columns.
    """
    if isinstance(class_weight, str):
        return [class_weight] * n_columns
    if isinstance(class_weight, dict):
        if n_columns == 1:
            return [class_weight]
        raise ValueError(
            "For multi-output, class_weight should be a list of dicts, or the string 'balanced'. "
            f"y has {n_columns} columns, and class_weight is {class_weight!r}."
        )
    if len(class_weight) != n_columns:
        raise ValueError(
            "For multi-output, number of elements in class_weight should match number of outputs. "
            f"Got {len(class_weight)} element(s) while having {n_columns} outputs."
        )
    for index, weights in enumerate(class_weight):
        if not (isinstance(weights, dict) or (isinstance(weights, str) and weights == "balanced")):
            raise ValueError(
                f"class_weight[{index}] must be a dict of weights by class, or 'balanced', got "
                f"{weights!r}."
            )
    return list(class_weight)


def balanced(
    numbers: npt.NDArray[np.intp], n_classes: int, sample_weight: Weights | None
) -> Weights:
    """Return weights by which the classes present have the same total weight."""
    counts = np.bincount(numbers, sample_weight, n_classes).astype(np.float64)
    is_present = counts > 0
    weights = np.zeros(n_classes)
    weights[is_present] = counts.sum() / (is_present.sum() * counts[is_present])
    return weights


def check_not_balanced(class_weight: Any) -> None:
    """Refuse weights that `partial_fit` cannot tell from a part of the data.

    Raises
    ------
    ValueError
        If they are 'balanced'.
    """
    entries = class_weight if isinstance(class_weight, list) else [class_weight]
    if any(isinstance(entry, str) and entry == "balanced" for entry in entries):
        raise ValueError(
            "class_weight 'balanced' is not supported for partial_fit. In order to use 'balanced' "
            "weights, use sklearn.utils.class_weight.compute_class_weight('balanced', "
            "classes=classes, y=y) with all of y, or a large sample of it, and pass the resulting "
            "weights as class_weight={class: weight}."
        )
