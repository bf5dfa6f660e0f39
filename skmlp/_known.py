"""Estimators whose predictions are known already, for scorers while networks are chosen."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin


class KnownProbabilities(ClassifierMixin, BaseEstimator):
    """A classifier whose probabilities are known, whatever X is."""

    def __init__(self, probabilities: npt.NDArray[Any], classes: npt.NDArray[Any]) -> None:
        self.probabilities, self.classes = probabilities, classes
        self.classes_ = classes

    def predict_proba(self, X: Any) -> npt.NDArray[Any]:
        """Return the probabilities."""
        return self.probabilities

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Return the most probable classes."""
        return np.asarray(self.classes_[self.probabilities.argmax(axis=1)])


class KnownValues(RegressorMixin, BaseEstimator):
    """A regressor whose predictions are known, whatever X is."""

    def __init__(self, values: npt.NDArray[Any]) -> None:
        self.values = values

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Return the predictions."""
        return np.ravel(self.values)
