"""The multilayer perceptron classifier."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin

from skmlp._base import BaseMLP, Targets, stochastic_only
from skmlp._drafts import draft_of
from skmlp._parameters import constraints_of
from skmlp._sklearn_compat import _check_partial_fit_first_call, _fit_context
from skmlp._sparse import check_sparse
from skmlp._splitting import classes_to_stratify
from skmlp._targets import (
    as_column_or_matrix,
    check_classes_known,
    check_decodable,
    check_same_classes,
    decode_labels,
    encode_labels,
    fit_binarizer,
    is_correct,
    is_multilabel,
    n_outputs,
    orderable,
)
from skmlp._validation import as_numpy, check_X_y
from skmlp._vocabulary import answers_keywords
from skmlp.network.parameters import FloatArray

if TYPE_CHECKING:
    from sklearn.preprocessing import LabelBinarizer


class MLPClassifier(ClassifierMixin, BaseMLP):
    """Multilayer perceptron classifier: a drop-in for scikit-learn's, in Numba kernels.

    Minimizes the log loss of binary, multiclass or multilabel targets, by minibatch gradient
    descent or L-BFGS.

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of shape (n_layers - 2,), default=(100,)
        Number of units in each hidden layer. ``()`` leaves hidden layers out, which makes the
        network a logistic regression.
    activation : str, object of `skmlp.activations` or tuple of these, default='relu'
        Activation function of the hidden layers, applied to a unit's weighted input `z`; a tuple
        has one for each layer:

        - 'identity': ``z``;
        - 'logistic': ``1 / (1 + exp(-z))``;
        - 'tanh': ``tanh(z)``;
        - 'relu': ``max(0, z)``;
        - 'gelu': ``z * P(z)`` with the standard normal distribution `P`;
        - 'silu': ``z / (1 + exp(-z))``;
        - 'leaky_relu': ``z`` if positive, else ``0.01 * z``, or
          ``LeakyReLU(negative_slope=...)``;
        - 'prelu': the same with slopes that units learn, or ``PReLU()``;
        - 'maxout': the larger of two weighted inputs, or ``Maxout(pieces=...)``;
        - ``Custom(value, derivative)``: functions of your own.
    solver : {'lbfgs', 'sgd', 'adam'}, default='adam'
        What minimizes the loss: a quasi-Newton method that looks at all samples in each step
        ('lbfgs', good for small data), or minibatch gradient descent with momentum ('sgd') or
        with adaptive moments ('adam').
    alpha : float, default=0.0001
        Strength of the L2 penalty ``alpha / 2 * sum(coefs ** 2)``, which is divided by the
        (weighted) number of samples in the batch, like the loss.
    batch_size : int, default='auto'
        Samples per minibatch; 'auto' is ``min(200, n_samples)``. Ignored by 'lbfgs'.
    learning_rate : {'constant', 'invscaling', 'adaptive'}, default='constant'
        Schedule of the learning rate, for ``solver='sgd'`` only:

        - 'constant': always `learning_rate_init`;
        - 'invscaling': ``learning_rate_init / (t + 1) ** power_t`` after `t` samples;
        - 'adaptive': `learning_rate_init`, divided by five whenever the loss (or the validation
          score, with `early_stopping`) fails to improve by `tol` for more than
          `n_iter_no_change` epochs, until it is at most 1e-6.
    learning_rate_init : float, default=0.001
        Step size at the start. Not used by 'lbfgs'.
    power_t : float, default=0.5
        Exponent of the 'invscaling' schedule.
    max_iter : int, default=200
        Maximum number of epochs ('sgd', 'adam') or iterations ('lbfgs').
    shuffle : bool, default=True
        Whether to draw a new order of the samples for every epoch.
    random_state : int, RandomState instance or None, default=None
        Determines the initial weights, the held-out samples of `early_stopping` and the order
        of the samples. The same integer gives the same weights as scikit-learn's.
    tol : float, default=1e-4
        An epoch improves if the loss falls, or the validation score rises, by more than `tol`.
        For 'lbfgs' the gradient's largest component at which to stop.
    verbose : bool or int, default=False
        Whether to print the loss of every epoch, a line before kernels are compiled, and where
        and why ``device='auto'`` computes.
    warm_start : bool, default=False
        Whether `fit` goes on from the earlier fit instead of starting anew. The weights, the
        optimizer's state and the random generator all continue: `k` fits with ``max_iter=1``
        equal one with ``max_iter=k``.
    momentum : float, default=0.9
        Momentum of 'sgd', in [0, 1].
    nesterovs_momentum : bool, default=True
        Whether 'sgd' uses Nesterov's momentum.
    early_stopping : bool, default=False
        Whether to hold out `validation_fraction` of the samples, to stop when the score on them
        no longer improves, and to keep the weights with the best score. The split is
        stratified by class, except for multilabel targets.
    validation_fraction : float, default=0.1
        Share of the samples that `early_stopping` holds out, in (0, 1).
    beta_1 : float, default=0.9
        Decay rate of the first moment in 'adam', in [0, 1).
    beta_2 : float, default=0.999
        Decay rate of the second moment in 'adam', in [0, 1).
    epsilon : float, default=1e-8
        Added to the denominator in 'adam'.
    n_iter_no_change : int or inf, default=10
        Number of epochs without improvement that are tolerated.
    max_fun : int, default=15000
        Maximum number of loss evaluations of 'lbfgs'.
    dtype : {'auto', 'float32', 'float64'} or dtype-like, default='auto'
        Precision of the weights and of the computation. 'auto' takes that of X: float32 stays
        float32, everything else is float64. 'float32' is about twice as fast; X is not copied.
        What NumPy takes for one of the two, such as ``np.float32``, means the same.
    n_jobs : int or None, default=None
        Number of threads on the CPU. None means all cores where that pays, and one inside a
        joblib worker. Results do not depend on it.
    device : {'cpu', 'cuda', 'auto'}, default='cpu'
        Where to compute: on the CPU, on an NVIDIA GPU, or on the GPU if there is one that can be
        used and the work is large enough to pay. Where no GPU can be used, `fit` with 'cuda'
        raises an error that says what is missing (so does `skmlp.show_devices`); predictions are
        then computed on the CPU, so that a model fitted on a GPU predicts anywhere.
    precision : {None, 'tf32', 'bf16'}, default=None
        Format to which a GPU rounds the factors in products of matrices, which its tensor cores
        then multiply several times as fast. Their sums, the weights and all else stay float32.
        None does not round. For fits in float32 with ``device='cuda'`` or 'auto'; where 'auto'
        chooses the CPU, nothing is rounded.
    dropout : float or tuple of float, default=0.0
        Share of the hidden units' outputs that each training step drops, in [0, 1); those kept
        are scaled by ``1 / (1 - dropout)``. A tuple has one for each hidden layer. Predictions
        drop nothing. No effect with 'lbfgs'.
    input_dropout : float, default=0.0
        The same for the inputs.
    normalization : {None, 'layer', 'batch'}, default=None
        What is done to the pre-activations of each hidden layer. 'layer' gives those of each
        sample mean zero and variance one, 'batch' those of each unit, over minibatches in
        training and by running statistics in predictions; either is followed by a gain and a
        shift that each unit learns. 'batch' takes minibatches of more than 256 samples in parts
        of at most 256, lets samples count by their weights, and does not go with 'lbfgs'. What is
        learned so is not in `coefs_` and `intercepts_`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    loss_ : float
        Loss of the last epoch, penalty included.
    best_loss_ : float or None
        Lowest loss of any epoch; None with `early_stopping`. Not set by 'lbfgs'.
    loss_curve_ : list of float of length n_iter_
        Loss of every epoch. Not set by 'lbfgs'.
    validation_scores_ : list of float of length n_iter_, or None
        Accuracy on the held-out samples after every epoch; None without `early_stopping`.
    best_validation_score_ : float or None
        Best of `validation_scores_`.
    t_ : int
        Number of training samples seen.
    coefs_ : list of ndarray of shape (fan_in, fan_out), length n_layers - 1
        Weights of each layer. Assigning to it changes what the model predicts.
    intercepts_ : list of ndarray of shape (fan_out,), length n_layers - 1
        Intercepts of each layer.
    n_features_in_ : int
        Number of features seen during `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X had names that are strings.
    n_iter_ : int
        Number of epochs, or iterations of 'lbfgs', of the last fit.
    n_layers_ : int
        Number of layers, input and output included.
    n_outputs_ : int
        Number of output units.
    out_activation_ : str
        Activation of the output layer: 'logistic' for binary and multilabel targets,
        'softmax' for more classes.
    device_ : {'cpu', 'cuda'}
        Where the last fit was computed.
    device_reason_ : str
        Why it was computed there.

    See Also
    --------
    MLPRegressor : Multilayer perceptron regressor.
    sklearn.neural_network.MLPClassifier : The estimator whose interface this one has.

    Notes
    -----
    With `p` the softmax (or logistic) of the last layer, the minimized loss is
    ``(sum_i w_i * -log p[i, y_i] + alpha / 2 * sum(coefs ** 2)) / sum_i w_i``.

    References
    ----------
    .. [1] Rumelhart, Hinton & Williams (1986), "Learning representations by back-propagating
       errors", Nature 323.
    .. [2] Glorot & Bengio (2010), "Understanding the difficulty of training deep feedforward
       neural networks", AISTATS.
    .. [3] Kingma & Ba (2014), "Adam: a method for stochastic optimization", arXiv:1412.6980.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skmlp import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    >>> model = make_pipeline(StandardScaler(), MLPClassifier(max_iter=500, random_state=0))
    >>> model = model.fit(X_train, y_train)
    >>> model.predict_proba(X_test[:1]).round(2).shape
    (1, 3)
    >>> bool(model.score(X_test, y_test) > 0.9)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = constraints_of("MLPClassifier")
    loss = "log_loss"
    classes_: npt.NDArray[Any]
    _label_binarizer: "LabelBinarizer"

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dtype: npt.DTypeLike = "auto",
        n_jobs: int | None = None,
        device: str = "cpu",
        precision: str | None = None,
        dropout: float | Sequence[float] = 0.0,
        input_dropout: float = 0.0,
        normalization: str | None = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
            dtype=dtype,
            n_jobs=n_jobs,
            device=device,
            precision=precision,
            dropout=dropout,
            input_dropout=input_dropout,
            normalization=normalization,
        )

    @answers_keywords
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the network.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data. Dense float32 and float64 arrays, read-only, strided and
            memory-mapped ones included, are not copied; sparse data stay sparse.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, or a matrix of zeros and ones for multilabel targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights, not all zero. None means ones.

        Returns
        -------
        self : MLPClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or the data are invalid, or if the fit diverges: a loss, a weight or
            a prediction for the training data is not finite. The estimator then is as it was
            before.
        RuntimeError
            If ``device='cuda'`` and no GPU can be used. Again nothing has changed.
        """
        return self._fit(X, y, sample_weight, incremental=False)

    @stochastic_only
    @answers_keywords
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train for one epoch over the given data, going on from where the network is.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels; they need not contain every class.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights, not all zero. None means ones.
        classes : array-like of shape (n_classes,), default=None
            All classes that any call will ever see. Needed in the first call only.

        Returns
        -------
        self : MLPClassifier
            The estimator after one more epoch.
        """
        draft = draft_of(self)
        y = check_sparse("y", as_numpy("y", y))
        classes = check_sparse("classes", as_numpy("classes", classes))
        with orderable("classes", classes):
            is_first = _check_partial_fit_first_call(draft, classes)
        if is_first:
            draft._label_binarizer = fit_binarizer(y if is_multilabel(y) else classes)
        return self._fit(X, y, sample_weight, incremental=True, draft=draft)

    def predict(self, X: Any) -> Any:
        """Predict class labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data to predict for.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            The most probable class, or for multilabel targets one for every label whose
            probability exceeds one half.
        """
        outputs = self._outputs(X)
        check_decodable(self, outputs.shape[1])
        return decode_labels(self._label_binarizer, outputs)

    def predict_proba(self, X: Any) -> FloatArray:
        """Predict class probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data to predict for.

        Returns
        -------
        probability : ndarray of shape (n_samples, n_classes)
            Probability of each class, in the order of `classes_`, in the precision of the
            fitted weights.
        """
        outputs = self._outputs(X)
        if outputs.shape[1] > 1:
            return outputs
        probability = np.empty((len(outputs), 2), dtype=outputs.dtype)
        probability[:, 1] = outputs[:, 0]
        probability[:, 0] = 1 - outputs[:, 0]
        return probability

    def predict_log_proba(self, X: Any) -> FloatArray:
        """Predict the logarithm of the class probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data to predict for.

        Returns
        -------
        log_probability : ndarray of shape (n_samples, n_classes)
            ``log(predict_proba(X))``; minus infinity where a probability is zero.
        """
        probability = self.predict_proba(X)
        with np.errstate(divide="ignore"):
            return np.log(probability, out=probability)

    def _prepare(
        self, X: Any, y: Any, *, reset: bool, incremental: bool
    ) -> tuple[Any, float, Targets]:
        X, y, X_norm = check_X_y(self, X, y, y_numeric=False, reset=reset)
        y = as_column_or_matrix(y)
        if hasattr(self, "classes_") and (self.warm_start or incremental):
            check_classes_known(self)
            check_same_classes(self._label_binarizer, y, warm_start=self.warm_start)
        else:
            self._label_binarizer = fit_binarizer(y)
            self.classes_ = self._label_binarizer.classes_
        matrix = encode_labels(self._label_binarizer, y)
        outputs = n_outputs(self._label_binarizer)
        stratify = None
        if self.early_stopping and self.solver != "lbfgs":
            stratify = classes_to_stratify(matrix, outputs, self.validation_fraction)
        return X, X_norm, Targets(matrix, outputs, stratify)

    def _output_activation(self) -> str:
        return "softmax" if self._label_binarizer.y_type_ == "multiclass" else "logistic"

    def _validation_score(
        self,
        targets: npt.NDArray[Any],
        outputs: FloatArray,
        sample_weight: npt.NDArray[np.float64] | None,
    ) -> float:
        """Return the accuracy; for multilabel targets all labels must be right."""
        correct = is_correct(self._label_binarizer, outputs, targets)
        return float(np.average(correct, weights=sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
