"""Pictures of networks, in the manner of scikit-learn's displays. Needs the extra ``skmlp[plot]``.

`LossCurveDisplay` draws how fits went, `WeightsDisplay` what layers have learned, `NetworkDisplay`
the network as a graph, `ActivationsDisplay` what hidden units put out, `HiddenSpaceDisplay` how
layers bend the space that data lie in, `LossSurfaceDisplay` the loss around a network, and
`SearchDisplay` what a search has found. Each is made by ``from_estimator`` (or
``from_estimators``, ``from_search``), which computes what is drawn and draws it; its attributes
are these numbers, and ``plot`` draws them again elsewhere.
"""

from skmlp.inspection._activations import ActivationsDisplay
from skmlp.inspection._hidden_space import HiddenSpaceDisplay
from skmlp.inspection._loss_curve import LossCurveDisplay
from skmlp.inspection._loss_surface import LossSurfaceDisplay
from skmlp.inspection._network import NetworkDisplay
from skmlp.inspection._search import SearchDisplay
from skmlp.inspection._weights import WeightsDisplay

__all__ = [
    "ActivationsDisplay",
    "HiddenSpaceDisplay",
    "LossCurveDisplay",
    "LossSurfaceDisplay",
    "NetworkDisplay",
    "SearchDisplay",
    "WeightsDisplay",
]
