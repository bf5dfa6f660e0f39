"""Multilayer perceptrons for scikit-learn users, computed in Numba kernels.

`MLPClassifier` and `MLPRegressor` take the place of their namesakes in
`sklearn.neural_network`: same parameters, attributes and results, in less time.
"""

from skmlp._classifier import MLPClassifier
from skmlp._devices import show_devices
from skmlp._layer_transformer import LayerTransformer
from skmlp._rates import find_learning_rate
from skmlp._regressor import MLPRegressor
from skmlp._warmup import warmup

__version__ = "0.1.0.dev0"

__all__ = [
    "LayerTransformer",
    "MLPClassifier",
    "MLPRegressor",
    "__version__",
    "find_learning_rate",
    "show_devices",
    "warmup",
]
