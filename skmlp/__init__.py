"""Multilayer perceptrons for scikit-learn users, computed in Numba kernels.

`MLPClassifier` and `MLPRegressor` take the place of their namesakes in
`sklearn.neural_network`: same parameters, attributes and results, in less time.
"""

from skmlp._classifier import MLPClassifier
from skmlp._devices import show_devices
from skmlp._from_torch import from_torch
from skmlp._joblib_backend import patch_joblib, register, unpatch_joblib
from skmlp._layer_transformer import LayerTransformer
from skmlp._neighbors import from_sklearn
from skmlp._patching import patch_sklearn, unpatch_sklearn
from skmlp._rates import find_learning_rate
from skmlp._regressor import MLPRegressor
from skmlp._saving import load
from skmlp._skl2onnx import register_if_imported, register_skl2onnx
from skmlp._table_encoder import TableEncoder
from skmlp._tabular import TabularMLPClassifier, TabularMLPRegressor
from skmlp._trusted import TRUSTED_TYPES
from skmlp._warmup import warmup

__version__ = "0.1.0.dev0"

__all__ = [
    "TRUSTED_TYPES",
    "LayerTransformer",
    "MLPClassifier",
    "MLPRegressor",
    "TableEncoder",
    "TabularMLPClassifier",
    "TabularMLPRegressor",
    "__version__",
    "find_learning_rate",
    "from_sklearn",
    "from_torch",
    "load",
    "patch_joblib",
    "patch_sklearn",
    "register_skl2onnx",
    "show_devices",
    "unpatch_joblib",
    "unpatch_sklearn",
    "warmup",
]

register()
register_if_imported()
