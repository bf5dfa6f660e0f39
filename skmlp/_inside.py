"""What a fitted network shows of itself: its layers, its gradients, its dead units."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp._explained import Outputs
from skmlp._fitted import as_trained
from skmlp._sensitivity import input_gradients, units_without_slope
from skmlp._summary import Summary, summary_of
from skmlp.network.parameters import FloatArray
from skmlp.network.parts import Trained
from skmlp.network.specs import NetworkSpec


class Inside(ABC):
    """Lets users look into a fitted network.

    All methods describe the network that was fitted, whatever parameters have become since.
    """

    @abstractmethod
    def _checked(self, X: Any) -> tuple[Any, Trained]:
        """Return X as the engines take it, and the fitted network."""

    @abstractmethod
    def _explained(self, network: NetworkSpec) -> Outputs:
        """Return the outputs that gradients may be asked of."""

    def summary(self) -> Summary:
        """Describe the fitted network, layer by layer, with batch normalization as it was trained.

        Returns
        -------
        summary : Summary
            Printed, or shown by a notebook, it is a table. It has `layers`, a tuple of objects
            with `name`, `shape`, `units`, `activation`, `normalization`, `n_parameters`, `n_bytes`
            and `flops_per_row`, and the sums `n_parameters`, `n_bytes` and `flops_per_row`.

        Raises
        ------
        NotFittedError
            If there is no network yet.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skmlp import MLPClassifier
        >>> model = MLPClassifier((20, 5), solver="lbfgs", max_iter=500, random_state=0)
        >>> model.fit(*load_iris(return_X_y=True)).summary()
        MLPClassifier
        layer     shape   activation  parameters  bytes  operations per row
        hidden 0  4 x 20  relu               100    800                 160
        hidden 1  20 x 5  relu               105    840                 200
        output    5 x 3   softmax             18    144                  30
        total                                223  1,784                 390
        """
        return summary_of(type(self).__name__, as_trained(self))

    def input_gradients(
        self,
        X: Any,
        *,
        method: str = "gradient",
        target: Any = None,
        baseline: Any = None,
        n_steps: int = 50,
        noise: float = 0.1,
        random_state: Any = None,
    ) -> FloatArray:
        """Compute how the network's outputs change with its inputs.

        Of a classifier these are the scores of its classes, from which probabilities are made (a
        probability near one hardly changes with anything), not divided by `temperature_`; the
        first of two classes has the negative score of the second. Of a regressor they are its
        predictions, in units of y.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Where to look.
        method : {'gradient', 'integrated', 'smoothgrad'}, default='gradient'
            'gradient' is the derivative at each row. 'integrated' multiplies its mean on the
            straight way from a baseline to the row by the way: the numbers of a row sum up to the
            difference of the outputs at both ends [1]_. 'smoothgrad' is its mean around the
            row [2]_.
        target : object, default=None
            The output: a class, or the number of a prediction (of several targets and
            quantiles as in ``predict(X).reshape(len(X), -1)``). None is the class that is
            predicted for each row, or the only output. With several targets of classes it is a
            pair of the target's number and a class. "all" means all outputs, also where a class has
            that label: its gradients are then one of the columns.
        baseline : float or array-like, default=None
            Where the way of 'integrated' begins: a row of shape (n_features,), or one for each row
            of X. None means zeros, the mean of scaled features.
        n_steps : int, default=50
            At how many points 'integrated' and 'smoothgrad' compute gradients for each row.
        noise : float, default=0.1
            Standard deviation of what 'smoothgrad' adds to each feature.
        random_state : int, RandomState instance or None, default=None
            What 'smoothgrad' draws with.

        Returns
        -------
        gradients : ndarray of float64, shape (n_samples, n_features[, n_outputs])
            There is a last axis with ``target="all"`` only, in the order of `classes_` or of the
            predictions.

        Raises
        ------
        ValueError
            If an argument is invalid, or there are several outputs and none was chosen.

        Notes
        -----
        They are computed with NumPy in double precision, and take longer than predictions. Of the
        activation 'step' they take the derivative that training takes.

        References
        ----------
        .. [1] Sundararajan, Taly & Yan (2017), "Axiomatic attribution for deep networks", ICML,
           arXiv:1703.01365.
        .. [2] Smilkov, Thorat, Kim, Viegas & Wattenberg (2017), "SmoothGrad: removing noise by
           adding noise", arXiv:1706.03825.
        """
        X, trained = self._checked(X)
        return input_gradients(
            trained,
            self._explained(trained.network),
            X,
            method=method,
            target=target,
            baseline=baseline,
            n_steps=n_steps,
            noise=noise,
            random_state=random_state,
        )

    def dead_units(self, X: Any) -> list[npt.NDArray[np.bool_]]:
        """Tell which hidden units do not learn: no gradient reaches them.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The training data, or some of them.

        Returns
        -------
        dead : list of ndarray of shape (units,)
            For each hidden layer, which units' activations have a derivative of zero for all
            rows of X. Units of 'maxout' and 'softmax' never count as dead.
        """
        X, trained = self._checked(X)
        return units_without_slope(trained, X)
