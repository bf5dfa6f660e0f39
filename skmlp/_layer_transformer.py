"""The hidden units of a network as features for other estimators."""

from numbers import Integral
from typing import Any, Self

from sklearn import get_config
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    MetaEstimatorMixin,
    TransformerMixin,
    clone,
)
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.validation import check_is_fitted

from skmlp._base import BaseMLP
from skmlp._choices import same
from skmlp._fitted import refuse_ensemble, shown, trained_network
from skmlp.network.parameters import FloatArray


class LayerTransformer(
    ClassNamePrefixFeaturesOutMixin, MetaEstimatorMixin, TransformerMixin, BaseEstimator
):
    """Transforms samples into the outputs of a network's hidden units.

    What a network has learned for one task often serves another one, or another kind of model.

    Parameters
    ----------
    estimator : MLPClassifier, MLPRegressor or Pipeline that ends with one
        A copy of it is fitted. One that has been fitted before, and is to stay what it is, is
        wrapped: ``LayerTransformer(FrozenEstimator(model))``, by `sklearn.frozen.FrozenEstimator`.
    layer : int, default=-1
        Number of the hidden layer, from zero; negative numbers count from the last one.

    Attributes
    ----------
    estimator_ : estimator
        The fitted copy, or `estimator` itself if it is frozen.
    layer_ : int
        Number of the layer, from zero.
    n_features_in_ : int
        Number of features seen during `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if they have any.

    See Also
    --------
    MLPClassifier, MLPRegressor

    Notes
    -----
    Outputs are those behind activation and normalization; nothing is dropped. They are computed
    as the network's predictions are, and have the precision of its weights. Where a unit's output
    is infinite, those of the others may be NaN in that row.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> from skmlp import LayerTransformer, MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> network = MLPClassifier((20, 5), solver="lbfgs", max_iter=500, random_state=0)
    >>> model = make_pipeline(LayerTransformer(network), KNeighborsClassifier())
    >>> bool(model.fit(X, y).score(X, y) > 0.95)
    True
    >>> model[:-1].get_feature_names_out()[:2]
    array(['layertransformer0', 'layertransformer1'], dtype=object)
    """

    estimator_: Any
    layer_: int

    def __init__(self, estimator: Any, layer: int = -1) -> None:
        self.estimator = estimator
        self.layer = layer

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> Self:
        """Fit the network, unless it is frozen.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Targets. A frozen network needs none.
        **fit_params : dict
            Passed on to `fit` of the network, such as `sample_weight`: all of them, or with
            metadata routing those that it requests.

        Returns
        -------
        self : LayerTransformer
            The fitted transformer.

        Raises
        ------
        ValueError
            If a parameter is invalid, or whatever the network's `fit` raises. Nothing has changed
            then.
        """
        check_layer_number(self.layer)
        check_is_one_network(last_step(self.estimator))
        if get_config()["enable_metadata_routing"]:
            fit_params = process_routing(self, "fit", **fit_params).estimator.fit
        estimator = clone(self.estimator).fit(X, y, **fit_params)
        layers = trained_network(last_step(estimator)).network.layers
        layer = self.layer + len(layers) * (self.layer < 0)
        if not 0 <= layer < len(layers):
            raise ValueError(
                f"layer={self.layer} is no hidden layer of a network with {len(layers)} of them. "
                "Use the number of one, from zero, or a negative number to count from the last "
                "one; hidden_layer_sizes=() makes none."
            )
        self.estimator_, self.layer_ = estimator, int(layer)
        self._n_features_out = layers[layer].units
        if hasattr(estimator, "feature_names_in_"):
            self.feature_names_in_ = estimator.feature_names_in_
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        return self

    def transform(self, X: Any) -> FloatArray:
        """Compute the outputs of the layer's units.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data to transform.

        Returns
        -------
        X_new : ndarray of shape (n_samples, n_units)
            In the precision of the fitted weights.
        """
        check_is_fitted(self)
        return outputs_within(self.estimator_, X, self.layer_)

    @property
    def n_features_in_(self) -> int:
        """Number of features seen during `fit`."""
        if "estimator_" not in vars(self):
            raise AttributeError(
                f"{type(self).__name__} has no n_features_in_: it is not fitted yet. Call fit "
                "first."
            )
        return int(self.estimator_.n_features_in_)

    def get_metadata_routing(self) -> MetadataRouter:
        """Tell which metadata go where.

        Returns
        -------
        routing : MetadataRouter
            To `fit` of the network what it requests.
        """
        mapping = MethodMapping().add(caller="fit", callee="fit")
        # Of pipelines; not every release of scikit-learn infers it.
        mapping.add(caller="fit_transform", callee="fit")
        return MetadataRouter(owner=self).add(estimator=self.estimator, method_mapping=mapping)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags.sparse = inner.input_tags.sparse
        tags.input_tags.allow_nan = inner.input_tags.allow_nan
        tags.target_tags.required = inner.target_tags.required
        if same(getattr(self.estimator, "dtype", None), "auto"):
            tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def check_is_one_network(network: BaseMLP) -> None:
    """Refuse an ensemble, fitted or to be fitted, whose networks have hidden units of their own."""
    refuse_ensemble(network, "A layer of hidden units")
    if network.n_estimators != 1 and not hasattr(network, "coefs_"):
        raise ValueError(
            f"estimator has n_estimators={network.n_estimators}, but layer is one of a single "
            "network. Use n_estimators=1."
        )


def check_layer_number(layer: Any) -> None:
    if not isinstance(layer, Integral) or isinstance(layer, bool):
        raise ValueError(
            f"layer must be a whole number, but is {shown(layer)}. Use for instance -1 for the "
            "last hidden layer."
        )


def unwrapped(estimator: Any) -> Any:
    """Return what a frozen estimator holds, and any other one as it is."""
    from sklearn.frozen import FrozenEstimator  # all who import skmlp would wait for it

    while isinstance(estimator, FrozenEstimator):
        estimator = estimator.estimator
    return estimator


def last_step(estimator: Any) -> BaseMLP:
    """Return the network that an estimator is, or ends with.

    Raises
    ------
    ValueError
        If there is none.
    """
    from sklearn.pipeline import Pipeline

    found = unwrapped(estimator)
    while isinstance(found, Pipeline):
        found = unwrapped(found.steps[-1][1])
    if not isinstance(found, BaseMLP):
        raise ValueError(
            "estimator must be an MLPClassifier or MLPRegressor of skmlp, a Pipeline that ends "
            f"with one, or a FrozenEstimator of these, but is {shown(estimator)}. Pass such an "
            "object."
        )
    return found


def outputs_within(estimator: Any, X: Any, layer: int) -> FloatArray:
    """Return the outputs of a hidden layer of the network that an estimator ends with."""
    found = unwrapped(estimator)
    if isinstance(found, BaseMLP):
        return found._hidden_outputs(X, layer)
    if len(found.steps) > 1:
        X = found[:-1].transform(X)
    return outputs_within(found.steps[-1][1], X, layer)
