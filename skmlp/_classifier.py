"""The multilayer perceptron classifier."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if

from skmlp._base import BaseMLP, stochastic_only
from skmlp._class_weight import check_not_balanced, class_weights
from skmlp._drafts import draft_of
from skmlp._ensembles import Compute
from skmlp._explained import Outputs, scores_of_classes
from skmlp._fitted import is_ensemble
from skmlp._formulas import name_of
from skmlp._held_out import Given, Targets
from skmlp._labels import (
    LEARN_ALL,
    Binarizer,
    accuracy,
    all_of,
    are_plain,
    as_column_or_matrix,
    check_classes_known,
    check_same_classes,
    classes_of,
    fit_binarizer,
    has_several_targets,
    learn_classes,
)
from skmlp._parameters import Known, constraints_of, known_of
from skmlp._sklearn_compat import _fit_context
from skmlp._solvers import uses_lbfgs
from skmlp._sparse import check_sparse
from skmlp._splitting import classes_to_stratify
from skmlp._targets import (
    are_equal,
    both_columns,
    check_decodable,
    decode_labels,
    deviations_of_classes,
    encode_labels,
    has_probabilities,
    heads_of,
    is_correct,
    outputs_of_targets,
    probabilities_of_targets,
    scores_of_targets,
    targets_of,
    threshold_of,
)
from skmlp._temperature import (
    check_can_be_fitted,
    find_temperature,
    fitted_temperature,
    probabilities_at,
    without_links,
)
from skmlp._validation import (
    as_numpy,
    check_sample_weight,
    check_validation_samples,
    check_X_y,
)
from skmlp._vocabulary import answers_keywords
from skmlp.network.parameters import FloatArray
from skmlp.network.parts import Trained
from skmlp.network.specs import NetworkSpec

# With several targets there is an array for each one.
Probabilities: TypeAlias = FloatArray | list[FloatArray]


def learns_probabilities(estimator: Any) -> bool:
    """Whether a classifier predicts probabilities: what was fitted counts, then the parameter."""
    network = vars(estimator).get("_network")
    if type(network) is NetworkSpec:
        return has_probabilities(network)
    return name_of(estimator.loss) not in ("hinge", "squared_hinge")


def offers_probabilities(estimator: Any) -> bool:
    """Whether there are probabilities; raises scikit-learn's `AttributeError` if not."""
    if not learns_probabilities(estimator):
        raise AttributeError(
            f"probability estimates are not available for loss={estimator.loss!r}. Use "
            "decision_function, or loss='log_loss'."
        )
    return True


def offers_scores(estimator: Any) -> bool:
    """Whether there are scores; raises scikit-learn's `AttributeError` if not."""
    if learns_probabilities(estimator):
        raise AttributeError(
            f"decision_function is not available for loss={estimator.loss!r}. Use predict_proba, "
            "or loss='hinge'."
        )
    return True


class MLPClassifier(ClassifierMixin, BaseMLP):
    """Multilayer perceptron classifier: a drop-in for scikit-learn's, in Numba kernels.

    Minimizes the log loss, or another one, of binary, multiclass or multilabel targets, or of
    several targets of classes at once, by minibatch gradient descent or L-BFGS.

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
        - 'gelu': ``z * P(z)`` with the standard normal distribution `P`, 'gelu_tanh' or
          ``GELU(approximate=True)`` its approximation;
        - 'silu': ``z / (1 + exp(-z))``, and 'mish': ``z * tanh(log(1 + exp(z)))``;
        - 'leaky_relu': ``z`` if positive, else ``0.01 * z``, or
          ``LeakyReLU(negative_slope=...)``;
        - 'prelu': the same with slopes that units learn, or ``PReLU()``;
        - 'elu': ``z`` if positive, else ``exp(z) - 1``, or ``ELU(alpha=...)``, its relatives
          'celu', ``CELU(alpha=...)`` and 'selu', and 'softplus' or ``Softplus(beta=...)``;
        - 'relu6', 'hard_tanh', 'hard_sigmoid', 'hard_swish', 'softsign', 'log_sigmoid', 'sinc',
          'exponential', 'softmax', and ``Logistic(slope=..., threshold=...)``;
        - 'step': 1 if `z` is positive, else 0, trained as if it were the identity where
          ``|z| <= 1``; not with 'lbfgs';
        - 'maxout': the larger of two weighted inputs, or ``Maxout(pieces=...)``;
        - ``Blend(f)``: between ``z`` and the activation `f`, as each unit learns;
        - ``Custom(value, derivative)``: functions of your own.

        'sigmoid', 'swish' and 'hardtanh' stand for 'logistic', 'silu' and 'hard_tanh'.
        `skmlp.activations.evaluate` computes any of them.
    solver : str or object of `skmlp.optimizers`, default='adam'
        What minimizes the loss: a quasi-Newton method that looks at all samples in each step
        ('lbfgs', good for small data), or minibatch gradient descent:

        - 'sgd': with momentum;
        - 'adam': with adaptive moments; 'adamw' is the same, by the name under which its
          `weight_decay` is known;
        - 'nadam', 'amsgrad', 'adamax': Adam with Nesterov's momentum, with second moments that
          never fall, and with largest gradients in place of second moments;
        - 'rmsprop', 'adagrad', 'adadelta': steps divided by the root of the mean, or of the sum,
          of squared gradients. 'adadelta' needs ``learning_rate_init=1.0``;
        - 'lion': with the signs of the momentum;
        - 'muon': with the momentum of each weight matrix made orthogonal, but for the output
          layer's; 'adam' for all else.

        An object of `skmlp.optimizers`, where their formulas and sources are, has parameters of
        its own, as in ``solver=Lion(beta_2=0.95)``, which are searched as ``solver__beta_2``;
        those here that belong to the same formula must then be left alone.
    alpha : float, default=0.0001
        Strength of the L2 penalty ``alpha / 2 * sum(coefs ** 2)``, which is divided by the
        (weighted) number of samples in the batch, like the loss.
    batch_size : int, default='auto'
        Samples per minibatch; 'auto' is ``min(200, n_samples)``. Ignored by 'lbfgs'.
    learning_rate : str, object of `skmlp.schedules` or callable, default='constant'
        Schedule of the learning rate. Three are as in scikit-learn, where other solvers than
        'sgd' take 'invscaling' and 'adaptive' for 'constant':

        - 'constant': always `learning_rate_init`;
        - 'invscaling': ``learning_rate_init / (t + 1) ** power_t`` after `t` samples;
        - 'adaptive': `learning_rate_init`, divided by five whenever the loss (or the validation
          score, with `early_stopping`) fails to improve by `tol` for more than
          `n_iter_no_change` epochs, until it is at most 1e-6.

        Others are for every solver but 'lbfgs':

        - 'plateau': `learning_rate_init`, divided by ten whenever more than five epochs in a row
          bring no improvement; it does not put off the end of the fit.

        Those that follow multiply `learning_rate_init` by a factor that changes from step to
        step, over all steps of `max_iter` epochs. Objects of `skmlp.schedules`, as in
        ``learning_rate=Cosine(warmup=0.1)``, have parameters:

        - 'step': a tenth of the rate after every 30 epochs;
        - 'exponential': a fall to a hundredth;
        - 'polynomial': a fall to zero in a straight line, or by another power;
        - 'cosine': half a wave of the cosine from one to zero;
        - 'cosine_restarts': three of them, each twice as long as the one before;
        - 'one_cycle': a rise from 0.04 to one, then a fall to 4e-6;
        - 'flat_cos': one for half of the steps, then half a wave;
        - 'coslog4': four waves from zero to one and back, each longer than the one before;
        - 'inverse_sqrt': a rise from zero to one, then a fall by the root of the steps;
        - a function of which part of these steps is over: called with an array of numbers in
          [0, 1), it returns as many factors. One that needs three arguments is given the numbers
          of epochs and steps too.

        They begin anew with each `fit`, `warm_start` or not, and end early where the fit does.
        `partial_fit`, which does not know how many steps there will be, takes none of them.
    learning_rate_init : float, default=0.001
        Step size at the start. Not used by 'lbfgs'.
    power_t : float, default=0.5
        Exponent of the 'invscaling' schedule.
    max_iter : int, default=200
        Maximum number of epochs, or of iterations of 'lbfgs'.
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
        and why ``device='auto'`` computes. 2 shows a bar instead, or a line a second.
    warm_start : bool, default=False
        Whether `fit` goes on from the earlier fit instead of starting anew. The weights, the
        optimizer's state and the random generator all continue: `k` fits with ``max_iter=1``
        equal one with ``max_iter=k``, unless `learning_rate` is a schedule over all steps.
    momentum : float, default=0.9
        Momentum of 'sgd', in [0, 1].
    nesterovs_momentum : bool, default=True
        Whether 'sgd' uses Nesterov's momentum.
    early_stopping : bool, default=False
        Whether to hold out `validation_fraction` of the samples, to stop when the score on them
        no longer improves, and to keep the weights with the best score. The split is
        stratified by class, except for multilabel targets, several targets and `groups`. Samples
        to watch can also be passed to `fit`, as `X_val` and `y_val`.
    validation_fraction : float or splitter, default=0.1
        Share of the samples that `early_stopping` holds out, in (0, 1). A splitter of
        `sklearn.model_selection`, or one like them, says by its first split which samples to
        train on and which to hold out.
    beta_1 : float, default=0.9
        Decay rate of the first moment in 'adam' and its kin ('adamw', 'nadam', 'amsgrad',
        'adamax' and, of what is no matrix, 'muon'), in [0, 1).
    beta_2 : float, default=0.999
        Decay rate of the second moment in 'adam' and its kin, in [0, 1).
    epsilon : float, default=1e-8
        Added to the denominator in 'adam' and its kin.
    n_iter_no_change : int or inf, default=10
        Number of epochs without improvement that are tolerated.
    max_fun : int, default=15000
        Maximum number of loss evaluations of 'lbfgs'.
    weight_decay : float, default=0.0
        Strength of the decoupled weight decay, not negative. Before each step with the learning
        rate `r` coefficients are multiplied by ``1 - r * weight_decay``; intercepts are not. Works
        with every solver but 'lbfgs', beside the penalty `alpha`, and is no part of the loss.
        PyTorch's AdamW has 0.01.
    clip_norm : float or None, default=None
        Largest norm of a batch's gradient, over all parameters together: that of the mean loss
        with its L2 penalty. A gradient with a larger one is scaled down to it. None does not
        scale. Not used by 'lbfgs'.
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
    normalization : {None, 'layer', 'batch'} or tuple of these, default=None
        What is done to the pre-activations of each hidden layer. 'layer' gives those of each
        sample mean zero and variance one, 'batch' those of each unit, over minibatches in
        training and by running statistics in predictions; either is followed by a gain and a
        shift that each unit learns. A tuple has one for each hidden layer. 'batch' takes
        minibatches of more than 256 samples in parts of at most 256, lets samples count by their
        weights, and does not go with 'lbfgs'. What 'batch' has learned is part of `coefs_`
        and `intercepts_` after the fit, what 'layer' learns is not.
    init : str, object of `skmlp.initializers` or tuple, default='glorot_uniform'
        Where a fit starts that does not go on from an earlier one: a name or an object of
        `skmlp.initializers` says how weights are drawn. Intercepts start at zero, except with
        'glorot_uniform', 'fan_in_uniform', 'ntk' and 'data_driven':

        - 'glorot_uniform': weights and intercepts uniformly within ``sqrt(6 / (fan_in +
          fan_out))`` of zero (with 'logistic' 2 instead of 6), as in scikit-learn;
        - 'glorot_normal': weights with variance ``2 / (fan_in + fan_out)``;
        - 'he_normal', 'he_uniform': weights with variance ``2 / fan_in``, for rectifiers (with
          'identity', 'logistic', 'tanh' and `Maxout` 1 instead of 2, and ``2 / (1 +
          negative_slope ** 2)`` with leaky ones);
        - 'lecun_normal', 'lecun_uniform': weights with variance ``1 / fan_in``;
        - 'fan_in_uniform': weights and intercepts uniformly within ``sqrt(1 / fan_in)``, as in
          PyTorch;
        - 'orthogonal': random orthogonal matrices;
        - 'sparse': 15 inputs for each unit, other weights zero;
        - 'ntk': as 'lecun_normal', intercepts with variance one;
        - 'data_driven': weights and intercepts scaled by the pre-activations of samples of X;
        - ``ZeroLast(init)``: the same with zeros for the output layer;
        - ``From(model)``: the weights of a fitted network, where they fit.

        A tuple of two lists, ``(coefs, intercepts)``, gives the arrays of each layer themselves,
        as `coefs_` and `intercepts_` hold them. They are copied and never changed. Nothing is
        drawn then: the same `random_state` gives other held-out samples and orders than it does
        beside drawn weights.
    dropout_schedule : str, object of `skmlp.schedules`, callable or None, default=None
        Schedule of `dropout` and `input_dropout`: what they are multiplied by from step to step,
        over all steps of `max_iter` epochs. It is one of those of the learning rate that do so,
        such as 'flat_cos'. None leaves them as they are. Not for `partial_fit`.
    weight_decay_schedule : str, object of `skmlp.schedules`, callable or None, default=None
        Schedule of the weight decay, likewise. The decay follows the learning rate too.
    l1_ratio : float, default=0.0
        Share of the L1 penalty in `alpha`, in [0, 1], as in scikit-learn's SGDClassifier: the
        penalty is ``alpha * (l1_ratio * sum(abs(coefs)) + (1 - l1_ratio) / 2 * sum(coefs ** 2))``.
        It draws coefficients to zero by steps of one size, and they cross it to and fro: what is
        not needed becomes small, not exactly zero. Does not go with 'lbfgs'.
    clip_value : float or None, default=None
        Largest size of each entry of a batch's gradient: that of the mean loss with its penalty.
        Larger ones are cut down to it, before `clip_norm` is looked at. Not used by 'lbfgs'.
    max_norm : float or None, default=None
        Largest norm of a unit's incoming weights, of hidden and of output units, intercepts left
        out. After each step, and before the first one, larger ones are scaled down to it. Not used
        by 'lbfgs'.
    connectivity : float or tuple, default=1.0
        Share of the connections to hidden units that there are, in (0, 1]. Each unit has as many,
        at least one, drawn by `random_state`; output units have all. A tuple has an entry for each
        weight matrix: a share, None for all, or an array of bool, of shape (units before, units),
        that says which there are. Coefficients of the others are exactly zero, with every solver;
        with 'maxout' those of all pieces. A later `partial_fit`, or `fit` with `warm_start`, has
        the same connections.
    monotonic_cst : array-like of int of shape (n_features,), dict or None, default=None
        Monotone constraints on features: 1 where the probability of the positive class must
        never fall as the feature grows, -1 where it must never rise, else 0; or a dict of the
        features' names. They hold for every input, by the signs of weights
        (``docs/guide/regularization.md``). Hidden activations must be some that never fall, as
        'identity', 'logistic', 'tanh', 'relu', 'leaky_relu', 'prelu' and 'maxout', and
        normalization None or 'batch'.
        For two classes only.
    frozen_layers : int, default=0
        Number of layers, from the input on, that are not trained: their coefficients, intercepts
        and all else they have learned stay what they are. For networks that start from those of
        another task, by `init` or `warm_start`. Batch normalization in these layers takes its
        running statistics.
    input_noise : float, default=0.0
        Standard deviation of the Gaussian noise that each training step adds to the inputs, which
        should have about the same scale. Predictions add nothing. Not for sparse X. No effect with
        'lbfgs'.
    mixup : float, default=0.0
        Concentration of the shares by which each training step mixes samples in pairs: one share
        per step, of the beta distribution with both parameters `mixup`. A mixture has the losses
        of both targets, in the same shares. Zero mixes nothing, 0.2 little, 1 by all shares alike.
        Not for sparse X. No effect with 'lbfgs'. See ``docs/guide/regularization.md``.
    scoring : str, callable or None, default=None
        What `early_stopping` watches, the higher the better: None is the accuracy, 'loss' the
        negative of the loss without penalty, computed by the engine. Others are names of
        scikit-learn's scorers, or functions ``scorer(estimator, X, y)`` that are given an
        estimator with the weights of the epoch, and `sample_weight` too where they take it and
        there is one.
    restore_best : bool or None, default=None
        Whether the fit ends with its best weights, whatever ends it, or with the last ones. None
        means with `early_stopping` only. The best weights have the best validation score; without
        `early_stopping` they are those after the epoch with the lowest loss.
    min_iter : int, default=1
        Number of epochs before which `n_iter_no_change` does not end the fit.
    max_time : float or None, default=None
        Seconds of training after which the fit ends, validation and compilation not counted; one
        epoch (iteration of 'lbfgs') is always done. None means any time.
    monitor : str, tuple of str or None, default=None
        What else to record in `history_` after each epoch, some of which takes longer than the
        epoch itself:

        - 'seconds': of training, since the first epoch;
        - 'validation_loss': the loss without penalty where `early_stopping` looks;
        - 'penalty': what the penalty adds to the loss, in batches of mean weight;
        - 'gradient_norm': of the loss over all samples trained on, nothing being dropped;
        - 'update_ratio': norm of the epoch's change of all parameters over their norm before;
        - 'dead_units': for each hidden layer, from 'dead_units_0' on, the share of units whose
          derivative is zero in all of 500 samples trained on;
        - 'saturated_units': for each hidden layer the share of units whose derivative is, in
          magnitude, below 1 % of the activation's largest one, as a mean over these samples.
    ema_decay : float or None, default=None
        Decay rate of exponential averages of the weights, in [0, 1), which the fitted model and
        the scores of `early_stopping` then have: of what each weight, intercept and learned
        number was after every step, where a step counts `ema_decay` times as much as the next
        one. The averages weigh no step before the first (there is a correction, as in Adam).
        `warm_start` and `partial_fit` go on from where the training was, not from its averages,
        unless others have been assigned. Running statistics of batches and `loss_curve_` are
        those of the training. None averages nothing. No effect with 'lbfgs'.
    loss : str or object of `skmlp.losses`, default='log_loss'
        What to minimize:

        - 'log_loss': the cross-entropy;
        - 'focal': the same with little weight for samples that are well classified, or
          ``skmlp.losses.Focal(gamma=...)``;
        - 'squared_error': half the squared error of the probabilities of all classes (Brier);
        - 'hinge' and 'squared_hinge': those of support vector machines, each class against all
          others, as in scikit-learn's `SGDClassifier`. There are no probabilities then, but a
          `decision_function`.
    label_smoothing : float, default=0.0
        Share of each label's probability that is spread evenly over all classes, in [0, 1): over
        the two values of each label where targets are binary or multilabel. No effect with
        other losses than 'log_loss' and 'focal'.
    class_weight : dict, 'balanced', list or None, default=None
        Weights of the classes, by which those of the samples are multiplied in `fit` and
        `partial_fit`, also in the score of `early_stopping`. 'balanced' gives all classes the same
        total weight; `partial_fit` does not take it. Of a dict ``{class: weight}``
        missing classes have weight one. For multilabel and several targets it is a list with a dict
        for each column of y, whose weights are multiplied.
    temperature : float or 'fit', default=1.0
        What the scores are divided by that become probabilities, in `predict_proba` and
        `predict_log_proba` only. 'fit' finds the positive number with the smallest log loss on
        the samples that `early_stopping` holds out, from 0.01 to 100.
    n_estimators : int, default=1
        Number of networks. Above 1, the fitted model is an ensemble: as many networks, whose seeds
        are drawn by `random_state`, are trained as one run and are in `estimators_`; predictions
        are the means of theirs. See ``docs/guide/ensembles.md``, also for what becomes of the
        other parameters and attributes.
    bootstrap : bool, default=False
        Whether each network of an ensemble is trained on as many samples as there are, drawn with
        replacement. No effect with ``n_estimators=1``.
    oob_score : bool, default=False
        Whether to predict each sample by the networks that were not trained on it, and to score
        that, without weights. Needs `bootstrap`. No effect with ``n_estimators=1``.
    embedding : str, object of `skmlp.embeddings`, tuple of them and None, or None, default=None
        What each feature becomes before the first layer: several numbers, by a formula whose
        numbers are learned, 'piecewise', 'pbld', 'cosine' or 'periodic', with their parameters as
        `PiecewiseLinear`, `PBLD`, `Cosine` and `Periodic`, or a row of a table for codes of
        categories, `Categories`. A tuple or list has one for each feature, with None for those that
        stay what they are. `coefs_[0]` has a row for each number. Dropout, noise and mixtures of
        inputs come before. Needs dense X, and is computed on the CPU only. See
        ``docs/guide/embeddings.md``.
    input_scale : bool, default=False
        Whether each number that the first layer reads is multiplied by one that is learned and
        starts with one. After the fit it is part of `coefs_[0]`. Training needs dense X, and is
        computed on the CPU only.
    parametrization : {'standard', 'ntk'}, default='standard'
        Of which numbers training makes the weights, and so how large its steps are. With 'ntk', the
        neural-tangent parametrization, a layer of `fan_in` inputs computes ``X @ V / sqrt(fan_in) +
        b``, and training, weight decay and clipping are those of V. All else is said of the weights
        ``V / sqrt(fan_in)``, which networks are fitted to have in `coefs_`: `init` (with
        'lecun_normal' V is drawn with variance one, with 'ntk' the intercepts too), `alpha`,
        `max_norm` and the constraints. Rates differ by much, try 0.01 to 0.3. No effect with
        'lbfgs'. See ``docs/guide/solvers.md``.
    learning_rate_factors : dict or None, default=None
        Factors of the learning rate, by what parameters are: 'coefs', 'intercepts', 'slopes' (the
        numbers that activations learn), 'normalization' (gains and shifts), 'embedding' (what that
        of features learns) and 'scale' (of `input_scale`), of which others have the factor 1. For
        'coefs' and 'intercepts' it may be a sequence with one for each layer, the output layer too.
        What has the factor 0 stays as it starts. Roles that a network does not have are passed
        over. No effect with 'lbfgs'.
    weight_decay_factors : dict or None, default=None
        Factors of the weight decay, by what parameters are, in the same form. Only 'coefs' decay by
        default, with the factor 1. The decay of a step is multiplied by the factor of the learning
        rate too. No effect with 'lbfgs'.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), or list of such arrays
        Class labels; with several targets those of each one.
    loss_ : float
        Loss of the last epoch, penalty included.
    best_loss_ : float or None
        Lowest loss of any epoch; None with `early_stopping`. Not set by 'lbfgs'.
    loss_curve_ : list of float of length `n_iter_`
        Loss of every epoch. Not set by 'lbfgs'.
    validation_scores_ : list of float of length `n_iter_`, or None
        Score on the samples held out, or given as `X_val`, after every epoch: the accuracy, as
        `score` computes it, by default (weighted by `class_weight` too where they are held out), or
        what `scoring` says; None without `early_stopping`.
    validation_loss_curve_ : list of float, or None
        Validation loss of every epoch, without penalty; None unless `scoring` or `monitor` asks
        for it. Not set by 'lbfgs'.
    best_validation_score_ : float or None
        Best of `validation_scores_`.
    history_ : dict of list
        What was recorded, in lists of equal length for ``pandas.DataFrame``: 'epoch', 'loss',
        'learning_rate' (of the epoch's last step), with `early_stopping` 'validation_score', and
        what else there is by `scoring` and `monitor`. Of 'lbfgs' it is the loss of each
        iteration. `warm_start` and `partial_fit` add to it; what was not recorded is NaN.
    stop_reason_ : str
        Why the last fit ended: 'max_iter', 'max_time', 'no_improvement' (for more than
        `n_iter_no_change` epochs), 'interrupted' or 'diverged'; with 'lbfgs' also 'converged',
        'max_fun' or 'line_search' (which found nothing better). 'callback' is that a callback asked
        to stop.
    t_ : int
        Number of training samples seen.
    coefs_ : list of ndarray of shape (fan_in, fan_out), length n_layers - 1
        Weights of each layer. Assigning to it changes what the model predicts.
    intercepts_ : list of ndarray of shape (fan_out,), length n_layers - 1
        Intercepts of each layer.
    n_features_in_ : int
        Number of features seen during `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where X had names that are strings.
    n_iter_ : int
        Number of epochs, or iterations of 'lbfgs', of the last fit.
    n_layers_ : int
        Number of layers, input and output included.
    n_outputs_ : int
        Number of output units.
    out_activation_ : str, or list of str
        Activation of the output layer: 'logistic' for binary and multilabel targets,
        'softmax' for more classes, 'identity' with hinge losses; with several targets that of each
        one.
    temperature_ : float
        What `predict_proba` divides scores by. Assigning to it changes what it predicts.
    device_ : {'cpu', 'cuda'}
        Where the last fit was computed.
    device_reason_ : str
        Why it was computed there.
    estimators_ : list of MLPClassifier
        The networks of an ensemble, each an estimator of its own with ``n_estimators=1`` and its
        seed as `random_state`. An ensemble's `n_iter_` is the largest of theirs and its `loss_` the
        mean; what else tells of one network, such as `coefs_` and `loss_curve_`, only they have.
    estimators_samples_ : sequence of ndarray
        The numbers of the rows that each of them was trained on. Files do not keep it.
    oob_score_ : float
        With `oob_score` only: the accuracy of the predictions that are in
        `oob_decision_function_`.
    oob_decision_function_ : ndarray of shape (n_samples, n_classes), or list of such arrays
        With `oob_score` only: what `predict_proba` (with a hinge loss `decision_function`) gives
        for the training samples, of those networks that were not trained on a sample. NaN where
        there is none, and for samples that `early_stopping` held out.

    See Also
    --------
    MLPRegressor : Multilayer perceptron regressor.
    sklearn.neural_network.MLPClassifier : The estimator whose interface this one has.

    Notes
    -----
    With `p` the softmax (or logistic) of the last layer, the minimized loss is by default
    ``(sum_i w_i * -log p[i, y_i] + alpha / 2 * sum(coefs ** 2)) / sum_i w_i``. The losses of
    several targets are added up. The user guide (``docs/guide/losses.md``) has the formulas of
    all losses.

    Several targets with classes of their own are the columns of y, of shape (n_samples,
    n_targets), where scikit-learn's `type_of_target` finds 'multiclass-multioutput': not all of
    them zeros and ones, which are multilabel targets. Each has its own softmax (or, with two
    classes, logistic) units; the hidden layers are shared. As with scikit-learn's forests,
    `classes_` and the probabilities are then lists with an array for each target.

    References
    ----------
    .. [1] Rumelhart, Hinton & Williams (1986), "Learning representations by back-propagating
       errors", Nature 323.
    .. [2] Glorot & Bengio (2010), "Understanding the difficulty of training deep feedforward
       neural networks", AISTATS.
    .. [3] Kingma & Ba (2014), "Adam: a method for stochastic optimization", arXiv:1412.6980.
    .. [4] Lin et al. (2017), "Focal loss for dense object detection", ICCV.
    .. [5] Guo, Pleiss, Sun & Weinberger (2017), "On calibration of modern neural networks", ICML.

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

    Several targets, each with classes of its own:

    >>> import numpy as np
    >>> targets = np.column_stack([y_train, y_train == 1])
    >>> model = MLPClassifier(max_iter=1000, random_state=1).fit(X_train, targets)
    >>> model.classes_
    [array([0, 1, 2]), array([0, 1])]
    >>> [probability.shape for probability in model.predict_proba(X_test[:5])]
    [(5, 3), (5, 2)]
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = constraints_of("MLPClassifier")
    _known_parameters: ClassVar[dict[str, Known]] = known_of("MLPClassifier")
    temperature_: float
    classes_: npt.NDArray[Any] | list[npt.NDArray[Any]]
    _label_binarizer: Binarizer

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: Any = "constant",
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
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        dtype: npt.DTypeLike = "auto",
        n_jobs: int | None = None,
        device: str = "cpu",
        precision: str | None = None,
        dropout: float | Sequence[float] = 0.0,
        input_dropout: float = 0.0,
        normalization: str | Sequence[str | None] | None = None,
        init: Any = "glorot_uniform",
        dropout_schedule: Any = None,
        weight_decay_schedule: Any = None,
        l1_ratio: float = 0.0,
        clip_value: float | None = None,
        max_norm: float | None = None,
        connectivity: Any = 1.0,
        monotonic_cst: Any = None,
        frozen_layers: int = 0,
        input_noise: float = 0.0,
        mixup: float = 0.0,
        scoring: Any = None,
        restore_best: bool | None = None,
        min_iter: int = 1,
        max_time: float | None = None,
        monitor: str | Sequence[str] | None = None,
        ema_decay: float | None = None,
        loss: Any = "log_loss",
        label_smoothing: float = 0.0,
        class_weight: Any = None,
        temperature: float | str = 1.0,
        n_estimators: int = 1,
        bootstrap: bool = False,
        oob_score: bool = False,
        embedding: Any = None,
        input_scale: bool = False,
        parametrization: str = "standard",
        learning_rate_factors: Any = None,
        weight_decay_factors: Any = None,
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
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            dtype=dtype,
            n_jobs=n_jobs,
            device=device,
            precision=precision,
            dropout=dropout,
            input_dropout=input_dropout,
            normalization=normalization,
            init=init,
            dropout_schedule=dropout_schedule,
            weight_decay_schedule=weight_decay_schedule,
            l1_ratio=l1_ratio,
            clip_value=clip_value,
            max_norm=max_norm,
            connectivity=connectivity,
            monotonic_cst=monotonic_cst,
            frozen_layers=frozen_layers,
            input_noise=input_noise,
            mixup=mixup,
            scoring=scoring,
            restore_best=restore_best,
            min_iter=min_iter,
            max_time=max_time,
            monitor=monitor,
            ema_decay=ema_decay,
            n_estimators=n_estimators,
            bootstrap=bootstrap,
            oob_score=oob_score,
            embedding=embedding,
            input_scale=input_scale,
            parametrization=parametrization,
            learning_rate_factors=learning_rate_factors,
            weight_decay_factors=weight_decay_factors,
        )
        self.loss = loss
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.temperature = temperature

    def check_parameters(self) -> None:
        super().check_parameters()
        check_can_be_fitted(self)

    @answers_keywords
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        groups: Any = None,
        resume_from: Any = None,
    ) -> Self:
        """Fit the network.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data. Dense float32 and float64 arrays, read-only, strided and
            memory-mapped ones included, are not copied; sparse data stay sparse.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, a matrix of zeros and ones for multilabel targets, or a column of class
            labels for each of several targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights, not all zero. None means ones.
        X_val : {array-like, sparse matrix} of shape (n_val, n_features), default=None
            Samples for `early_stopping` to watch, in the place of held-out ones; none of X is
            held out then. A pipeline transforms it as X with metadata routing and
            ``transform_input=["X_val"]``.
        y_val : array-like of shape (n_val,) or (n_val, n_outputs), default=None
            Its targets; needed if `X_val` is given.
        sample_weight_val : array-like of shape (n_val,), default=None
            Its weights.
        groups : array-like of shape (n_samples,), default=None
            Which samples belong together. `early_stopping` then holds out whole groups, of which
            `validation_fraction` is the share; or the splitter that it is gets them.
        resume_from : str or path-like, default=None
            A checkpoint, written by `skmlp.callbacks.Checkpoint`, that this fit goes on from, as
            if the one that wrote it had not ended: bit by bit, with the same parameters and data.
            Only `n_jobs`, `verbose`, `warm_start`, `max_time` and, if no schedule counts by it,
            `max_iter` may be others. If there is no file yet, the fit starts from the beginning and
            says so. Not with ``solver='lbfgs'`` or ``n_estimators`` above 1.

        Returns
        -------
        self : MLPClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or the data are invalid, or if the fit diverges: a loss, a weight or
            a prediction for the training data is not finite; or if `resume_from` is damaged, or
            of a fit with other parameters or data. The estimator then is as it was before.
        RuntimeError
            If ``device='cuda'`` and no GPU can be used. Again nothing has changed.
        """
        given = Given(X_val, y_val, sample_weight_val, groups, resume_from)
        return self._fit(X, y, sample_weight, given, incremental=False)

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
        classes : array-like of shape (n_classes,), or list of such arrays, default=None
            All classes that any call will ever see; with several targets a list with those of
            each one. Needed in the first call only.

        Returns
        -------
        self : MLPClassifier
            The estimator after one more epoch.
        """
        check_not_balanced(self.class_weight)
        draft = draft_of(self)
        y = check_sparse("y", as_numpy("y", y))
        classes = check_sparse("classes", as_numpy("classes", classes))
        learn_classes(draft, y, classes)
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
            The most probable class (of each target), or for multilabel targets one for every
            label whose probability exceeds one half. Of scores the largest, or the positive ones.
        """
        network, outputs = self._compute(X)
        check_decodable(self, network)
        return decode_labels(self._label_binarizer, outputs, threshold_of(network))

    @available_if(offers_scores)
    def decision_function(self, X: Any) -> FloatArray | list[FloatArray]:
        """Predict scores, of a network that was fitted with a hinge loss.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data to predict for.

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes), or list of such arrays
            The score of each class (or label) against all others; of two classes, that of the
            second. With several targets an array for each one.
        """
        network, outputs = self._compute(X)
        check_decodable(self, network)
        return cast(
            "FloatArray | list[FloatArray]", scores_of_targets(self._label_binarizer, outputs)
        )

    @available_if(offers_probabilities)
    def predict_proba(
        self, X: Any, return_std: bool = False
    ) -> Probabilities | tuple[Probabilities, Probabilities]:
        """Predict class probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data to predict for.
        return_std : bool, default=False
            Whether to return how much the networks of an ensemble differ, too.

        Returns
        -------
        probability : ndarray of shape (n_samples, n_classes), or list of such arrays
            Probability of each class, in the order of `classes_`, in the precision of the
            fitted weights; with several targets an array for each one. Of an ensemble it is the
            mean of its members' probabilities.
        probability_std : ndarray or list of the same shapes
            The standard deviation of the members' probabilities, with `return_std` only.

        Raises
        ------
        ValueError
            If `return_std` and there is a single network.
        """
        if return_std:
            return self._probabilities_with_spread(X)
        if is_ensemble(self) or (temperature := fitted_temperature(self)) == 1.0:
            network, outputs = self._compute(X)
        else:
            network, raw = self._compute(X, without_links)
            outputs = probabilities_at(network, raw, temperature)
        return self._as_probabilities(network, outputs)

    def _as_probabilities(self, network: NetworkSpec, outputs: FloatArray) -> Probabilities:
        """Return outputs with a column for each class, as an array for each target."""
        if len(network.heads) == 1:
            return both_columns(outputs)
        check_decodable(self, network)
        return probabilities_of_targets(self._label_binarizer, outputs)

    def _probabilities_with_spread(self, X: Any) -> tuple[Probabilities, Probabilities]:
        if not is_ensemble(self):
            raise ValueError(
                "return_std=True asks how much the networks of an ensemble differ, but there is a "
                "single one. Fit with n_estimators above 1, or leave return_std out."
            )
        network, mean, variance = self._averaged(X, spreads=True)
        assert variance is not None
        spread = np.sqrt(variance).astype(mean.dtype)
        if len(network.heads) == 1:
            return both_columns(mean), deviations_of_classes(spread)
        check_decodable(self, network)
        parts = outputs_of_targets(all_of(self._label_binarizer), spread)
        binarizers = all_of(self._label_binarizer)
        deviations = [
            np.zeros_like(part) if len(one.classes_) == 1 else deviations_of_classes(part)
            for one, part in zip(binarizers, parts, strict=True)
        ]
        return self._as_probabilities(network, mean), deviations

    @available_if(offers_probabilities)
    def predict_log_proba(self, X: Any) -> FloatArray | list[FloatArray]:
        """Predict the logarithm of the class probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data to predict for.

        Returns
        -------
        log_probability : ndarray of shape (n_samples, n_classes), or list of such arrays
            ``log(predict_proba(X))``; minus infinity where a probability is zero.
        """
        probability: Any = self.predict_proba(X)
        with np.errstate(divide="ignore"):
            if isinstance(probability, list):
                return [np.log(part, out=part) for part in probability]
            return np.log(probability, out=probability)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy on given data.

        For multilabel targets all labels of a sample must be right. With several targets, whose
        accuracy scikit-learn does not define, it is the mean of the targets' accuracies.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data to predict for.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            True labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights, not all zero. None means ones.

        Returns
        -------
        score : float
            Between zero and one.
        """
        if not has_several_targets(self):
            if sample_weight is None and are_plain(y):
                return accuracy(y, self.predict(X))
            return float(super().score(X, y, sample_weight))
        predicted = self.predict(X)
        correct = are_equal(predicted, as_numpy("y", y)).mean(axis=1)
        if sample_weight is not None:
            sample_weight = check_sample_weight(sample_weight, predicted)
        return float(np.average(correct, weights=sample_weight))

    def _prepare(
        self, X: Any, y: Any, *, reset: bool, incremental: bool, stratifies: bool
    ) -> tuple[Any, float, Targets]:
        X, y, X_norm = check_X_y(self, X, y, y_numeric=False, reset=reset)
        y = as_column_or_matrix(y)
        goes_on = incremental or (self.warm_start and not reset)
        if hasattr(self, "classes_") and goes_on:
            check_classes_known(self)
            check_same_classes(self._label_binarizer, y, warm_start=self.warm_start)
        else:
            self._label_binarizer = fit_binarizer(y)
            self.classes_ = classes_of(self._label_binarizer)
        labels = encode_labels(self._label_binarizer, y)
        heads = heads_of(self._label_binarizer, self.loss, self.label_smoothing)
        matrix = targets_of(self._label_binarizer, labels, heads, self.label_smoothing)
        stratify = None
        if stratifies and self.early_stopping and not uses_lbfgs(self):
            stratify = classes_to_stratify(labels, heads[0].units, self.validation_fraction)
        self.temperature_ = 1.0 if self.temperature == "fit" else float(self.temperature)
        return X, X_norm, Targets(y, matrix, heads, stratify, labels)

    def _prepare_validation(
        self, X_val: Any, y_val: Any, targets: Targets
    ) -> tuple[Any, Any, npt.NDArray[Any], npt.NDArray[Any]]:
        X_val, y_val = check_validation_samples(self, X_val, y_val, y_numeric=False)
        y_val = as_column_or_matrix(y_val)
        binarizer = self._label_binarizer
        check_same_classes(binarizer, y_val, warm_start=False, name="y_val", remedy=LEARN_ALL)
        labels = encode_labels(binarizer, y_val)
        matrix = targets_of(binarizer, labels, targets.heads, self.label_smoothing)
        return X_val, y_val, matrix, labels

    def _weighed(
        self, targets: Targets, sample_weight: npt.NDArray[np.float64] | None, resumes: bool
    ) -> Targets:
        if not self.class_weight:  # None, or a dict without classes
            return replace(targets, weight=sample_weight)
        weight = class_weights(
            self.class_weight, self._label_binarizer, targets.scored, sample_weight
        )
        if sample_weight is not None:
            weight = weight * sample_weight
        if not weight.any():
            raise ValueError(
                f"class_weight={self.class_weight!r} leaves no sample any weight. Give a class "
                "that y has a positive one."
            )
        return replace(targets, weight=weight)

    def _calibrate(
        self,
        network: NetworkSpec,
        outputs_of: Callable[[NetworkSpec], FloatArray],
        targets: npt.NDArray[Any],
        sample_weight: npt.NDArray[np.float64] | None,
    ) -> None:
        if self.temperature == "fit" and has_probabilities(network):
            raw = outputs_of(without_links(network))
            self.temperature_ = find_temperature(network, raw, targets, sample_weight)

    def _validation_score(
        self,
        network: NetworkSpec,
        targets: npt.NDArray[Any],
        outputs: FloatArray,
        sample_weight: npt.NDArray[np.float64] | None,
    ) -> float:
        """Return the accuracy, as `score` does."""
        correct = is_correct(self._label_binarizer, outputs, targets, threshold_of(network))
        return float(np.average(correct, weights=sample_weight))

    def _final_outputs(self, trained: Trained, compute: Compute) -> FloatArray:
        """Return probabilities at the fitted temperature, or scores."""
        network = trained.network
        if not has_probabilities(network) or (temperature := fitted_temperature(self)) == 1.0:
            return compute(trained)
        raw = compute(trained._replace(network=without_links(network)))
        return probabilities_at(network, raw, temperature)

    def _keep_out_of_bag(
        self, outputs: FloatArray, known: npt.NDArray[np.bool_], targets: Targets
    ) -> None:
        network = self._network
        of_known = targets.scored[known], outputs[known]
        score = self._validation_score(network, *of_known, None) if known.any() else np.nan
        self.oob_score_ = float(score)
        if has_probabilities(network):
            values: Any = self._as_probabilities(network, outputs)
        else:
            values = scores_of_targets(self._label_binarizer, outputs)
        for part in values if isinstance(values, list) else [values]:
            part[~known] = np.nan  # of a single class, too
        self.oob_decision_function_ = values

    def _explained(self, network: NetworkSpec) -> Outputs:
        check_decodable(self, network)
        return scores_of_classes(self._label_binarizer)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.target_tags.multi_output = True
        return tags
