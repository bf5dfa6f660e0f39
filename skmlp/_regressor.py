"""The multilayer perceptron regressor."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import RegressorMixin

from skmlp._base import BaseMLP, stochastic_only
from skmlp._ensembles import Compute
from skmlp._explained import Outputs, predictions_of
from skmlp._fitted import is_ensemble
from skmlp._held_out import Given, Targets
from skmlp._labels import as_column_or_matrix
from skmlp._parameters import Known, constraints_of, known_of
from skmlp._sklearn_compat import _fit_context
from skmlp._target_scale import (
    Scaling,
    check_can_be_scaled,
    check_holds,
    fitted_scaling,
    scaling_of,
    scaling_to_go_on_with,
)
from skmlp._validation import (
    as_numpy,
    check_dense_target,
    check_numeric_target,
    check_target_domain,
    check_validation_samples,
    check_X_y,
    is_finite,
)
from skmlp._vocabulary import answers_keywords
from skmlp.losses import needs_positive, regression_head
from skmlp.network.losses import CUSTOM_LOSSES
from skmlp.network.parameters import FloatArray
from skmlp.network.parts import Trained
from skmlp.network.specs import HeadSpec, NetworkSpec


class MLPRegressor(RegressorMixin, BaseMLP):
    """Multilayer perceptron regressor: a drop-in for scikit-learn's, in Numba kernels.

    Minimizes half the squared error or another loss, with which it predicts means, medians,
    quantiles or distributions, by minibatch gradient descent or L-BFGS.

    Parameters
    ----------
    loss : str or object of `skmlp.losses`, default='squared_error'
        What to minimize: the name of a loss or an object, which may have parameters:

        - 'squared_error': half the squared error;
        - 'absolute_error': the absolute error, for medians;
        - 'huber': squared for small errors, linear for large ones, or ``Huber(delta=...)``;
        - 'log_cosh': the logarithm of the hyperbolic cosine of the error, its smooth kin;
        - 'quantile': the pinball loss for the median, ``Quantile(0.9)`` for another quantile, or
          ``Quantile((0.1, 0.5, 0.9))`` for several that do not cross;
        - 'poisson': half the Poisson deviance for counts and rates, ``y >= 0``, whose output is
          the exponential of the last layer;
        - 'gamma': half the gamma deviance for positive amounts, with the same output;
        - 'tweedie': half the Tweedie deviance for amounts that may be zero, or
          ``Tweedie(power=...)``, with the same output;
        - 'gaussian_nll': the negative log-likelihood of a normal distribution, ``(v + (y - m) **
          2 * exp(-v) + log(2 * pi)) / 2``. With `k` targets the first `k` output units are the
          means `m`, the other `k` the logarithms of the variances `v`. `predict` gives the means,
          and the standard deviations with ``return_std=True``. Scale y: the variances start at
          about one;
        - 'laplace_nll': the same of a Laplace distribution, whose mean is a median;
        - ``Custom(value, gradient)``: functions of your own.
    hidden_layer_sizes : int or array-like of shape (n_layers - 2,), default=(100,)
        Number of units in each hidden layer. ``()`` leaves hidden layers out, which makes the
        network a linear regression.
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
        no longer improves, and to keep the weights with the best score. The split is random.
        Samples to watch can also be passed to `fit`, as `X_val` and `y_val`.
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
        Monotone constraints on features: 1 where the prediction must
        never fall as the feature grows, -1 where it must never rise, else 0; or a dict of the
        features' names. They hold for every input, by the signs of weights
        (``docs/guide/regularization.md``). Hidden activations must be some that never fall, as
        'identity', 'logistic', 'tanh', 'relu', 'leaky_relu', 'prelu' and 'maxout', and
        normalization None or 'batch'.
        With 'gaussian_nll' they are on the mean.
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
        What `early_stopping` watches, the higher the better: None is R2, 'loss' the
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
    y_scale : {None, 'standard'}, default=None
        What is done to y before the fit, and undone in predictions. 'standard' takes away the mean
        of each target and divides by its standard deviation, both weighted by `sample_weight`;
        losses are then those of scaled targets. Fits that go on from an earlier one, by
        `partial_fit` or `warm_start`, scale as the first one did. Not for losses that need y to
        be positive.
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
    loss_ : float
        Loss of the last epoch, penalty included.
    best_loss_ : float or None
        Lowest loss of any epoch; None with `early_stopping`. Not set by 'lbfgs'.
    loss_curve_ : list of float of length `n_iter_`
        Loss of every epoch. Not set by 'lbfgs'.
    validation_scores_ : list of float of length `n_iter_`, or None
        Score on the samples held out, or given as `X_val`, after every epoch: what `scoring`
        says, or else what `score` returns, which is R2, with quantiles the part of the pinball loss
        that is explained; None without `early_stopping`.
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
        Number of output units: one for each target, two with 'gaussian_nll' and 'laplace_nll', and
        as many as quantiles.
    out_activation_ : str
        Activation of the output layer: 'identity'; 'exp' for the Poisson, gamma and Tweedie losses;
        'gaussian' and 'laplace', which make means and standard deviations of means and logarithms
        of variances; or 'increasing', which makes several quantiles of one and of what each is
        above the one before.
    y_mean_ : ndarray of shape (n_targets,)
        What is taken away from each target, with ``y_scale='standard'`` only.
    y_scale_ : ndarray of shape (n_targets,)
        What it then is divided by.
    device_ : {'cpu', 'cuda'}
        Where the last fit was computed.
    device_reason_ : str
        Why it was computed there.
    estimators_ : list of MLPRegressor
        The networks of an ensemble, each an estimator of its own with ``n_estimators=1`` and its
        seed as `random_state`. An ensemble's `n_iter_` is the largest of theirs and its `loss_` the
        mean; what else tells of one network, such as `coefs_` and `loss_curve_`, only they have.
    estimators_samples_ : sequence of ndarray
        The numbers of the rows that each of them was trained on. Files do not keep it.
    oob_score_ : float
        With `oob_score` only: what `score` gives for the predictions that are in `oob_prediction_`.
    oob_prediction_ : ndarray of shape (n_samples,) or (n_samples, n_targets)
        With `oob_score` only: what `predict` gives for the training samples, of those networks that
        were not trained on a sample. NaN where there is none, and for samples that `early_stopping`
        held out.

    See Also
    --------
    MLPClassifier : Multilayer perceptron classifier.
    sklearn.neural_network.MLPRegressor : The estimator whose interface this one has.

    Notes
    -----
    With `p` the output of the last layer, the minimized loss is ``(sum_i w_i sum_k l(y_ik, p_ik)
    + alpha / 2 * sum(coefs ** 2)) / sum_i w_i``, where `l` is by default ``(y - p) ** 2 / 2``.
    The losses of several targets are added up. The user guide (``docs/guide/losses.md``) has the
    formulas of all losses.

    References
    ----------
    .. [1] Rumelhart, Hinton & Williams (1986), "Learning representations by back-propagating
       errors", Nature 323.
    .. [2] Glorot & Bengio (2010), "Understanding the difficulty of training deep feedforward
       neural networks", AISTATS.
    .. [3] Kingma & Ba (2014), "Adam: a method for stochastic optimization", arXiv:1412.6980.
    .. [4] Nix & Weigend (1994), "Estimating the mean and variance of the target probability
       distribution", IEEE International Conference on Neural Networks.
    .. [5] He, Zhang, Ren & Sun (2015), "Delving deep into rectifiers", ICCV.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from sklearn.model_selection import train_test_split
    >>> from skmlp import MLPRegressor
    >>> X, y = make_regression(n_samples=200, n_features=20, random_state=1)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=1)
    >>> model = MLPRegressor(max_iter=2000, tol=0.1, random_state=1).fit(X_train, y_train)
    >>> model.predict(X_test[:2]).shape
    (2,)
    >>> bool(model.score(X_test, y_test) > 0.95)
    True

    A standard deviation for each sample, of scaled targets:

    >>> model = MLPRegressor('gaussian_nll', max_iter=500, tol=0.001, random_state=1)
    >>> mean, std = model.fit(X_train, y_train / 100).predict(X_test, return_std=True)
    >>> mean.shape, std.shape
    ((50,), (50,))

    Three quantiles of each:

    >>> from skmlp.losses import Quantile
    >>> model = MLPRegressor(Quantile((0.1, 0.5, 0.9)), max_iter=500, tol=0.001, random_state=1)
    >>> model.set_params(y_scale='standard').fit(X_train, y_train).predict(X_test).shape
    (50, 3)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = constraints_of("MLPRegressor")
    _known_parameters: ClassVar[dict[str, Known]] = known_of("MLPRegressor")

    def __init__(
        self,
        loss: Any = "squared_error",
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
        y_scale: str | None = None,
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
        self.y_scale = y_scale

    def check_parameters(self) -> None:
        super().check_parameters()
        check_can_be_scaled(self)

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
            Target values; not negative for the Poisson and Tweedie losses, positive for gamma's.
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
        self : MLPRegressor
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
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one epoch over the given data, going on from where the network is.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Target values.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights, not all zero. None means ones.

        Returns
        -------
        self : MLPRegressor
            The estimator after one more epoch.
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(
        self, X: Any, return_std: bool = False
    ) -> FloatArray | tuple[FloatArray, FloatArray]:
        """Predict target values.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data to predict for.
        return_std : bool, default=False
            Whether to return standard deviations too: of an ensemble, or of a network that was
            fitted with ``loss='gaussian_nll'`` or 'laplace_nll'.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Predicted values, in the precision of the fitted weights: the means of a distribution.
            With several quantiles there is one more axis, (n_samples, n_quantiles) or (n_samples,
            n_targets, n_quantiles), along which they do not decrease. Of an ensemble they are the
            means of its members' predictions.
        y_std : ndarray of the same shape
            Standard deviations, with `return_std` only. Those of a single network are those of the
            noise in y, as it has learned it, and do not tell how sure the means are. Of an ensemble
            they tell how much its members' predictions differ; where these have deviations
            themselves, they are those of all members' distributions mixed in equal parts: the
            variance is the mean of the members' variances plus the variance of their means.

        Raises
        ------
        ValueError
            If `return_std`, and there is one network whose loss was another one.
        """
        if return_std and is_ensemble(self):
            return self._with_spread(X)
        network, outputs = self._compute(X)
        scaling = None if is_ensemble(self) else fitted_scaling(self, network)
        n_targets = network.target_columns
        head = network.head
        is_plain = outputs.shape[1] == n_targets and head.link != "increasing"
        if is_plain and scaling is None and not return_std:
            return outputs.ravel() if n_targets == 1 else outputs
        has_deviations = predicts_deviations(network)
        if return_std and not has_deviations:
            raise ValueError(
                f"return_std={return_std!r} asks for standard deviations, but this network was "
                f"fitted with loss={shown_loss(head)} and has none. Fit with "
                "loss='gaussian_nll', or with n_estimators above 1, or leave return_std out."
            )
        # The first output of every target, the second of every target, and so on.
        blocks = outputs.reshape(len(outputs), -1, n_targets)
        means = blocks[:, :1] if has_deviations else blocks
        if scaling is not None:
            means = scaling.undone(means)
        values = shaped(network, means)
        if not return_std:
            return values
        deviations = blocks[:, 1:] if scaling is None else scaling.stretched(blocks[:, 1:])
        return values, shaped(network, deviations)

    def _with_spread(self, X: Any) -> tuple[FloatArray, FloatArray]:
        """Return the means over an ensemble, and standard deviations, by the law of total variance.

        The mixture of distributions with means `m` and standard deviations `s` has the variance
        ``mean(s ** 2) + var(m)``, where ``mean(s ** 2)`` is ``mean(s) ** 2 + var(s)``.
        """
        network, outputs, variances = self._averaged(X, spreads=True)
        assert variances is not None
        shape = len(outputs), -1, network.target_columns
        means, spread = outputs.reshape(shape), variances.reshape(shape)
        if predicts_deviations(network):
            noise = means[:, 1:].astype(np.float64) ** 2 + spread[:, 1:]
            means, spread = means[:, :1], spread[:, :1] + noise
        deviations = np.sqrt(spread).astype(means.dtype)
        return shaped(network, means), shaped(network, deviations)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return how well y is predicted: R2, averaged over the targets.

        A network of quantiles is not judged by its distance from means. Its score is the part of
        the pinball loss that it explains, `sklearn.metrics.d2_pinball_score`, averaged over
        targets and quantiles.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data to predict for.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            True values.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights, not all zero. None means ones.

        Returns
        -------
        score : float
            At most one.
        """
        network = vars(self).get("_network")
        if type(network) is not NetworkSpec or network.head.loss.name != "quantile":
            if sample_weight is None and are_sound(y):
                return determination(y, self.predict(X))
            return float(super().score(X, y, sample_weight))
        predicted, levels = np.asarray(self.predict(X)), network.head.loss.constants
        return explained_pinball(as_numpy("y", y), predicted, levels, sample_weight)

    def _prepare(
        self, X: Any, y: Any, *, reset: bool, incremental: bool, stratifies: bool
    ) -> tuple[Any, float, Targets]:
        check_dense_target(y)
        X, y, X_norm = check_X_y(self, X, y, y_numeric=True, reset=reset)
        check_numeric_target(y)
        y = as_column_or_matrix(y)
        matrix = y.reshape(len(y), -1)
        head = regression_head(self.loss, matrix.shape[1])
        check_target_domain(matrix, head.entry, self.loss)
        return X, X_norm, Targets(y, matrix, (head,), None, matrix)

    def _prepare_validation(
        self, X_val: Any, y_val: Any, targets: Targets
    ) -> tuple[Any, Any, npt.NDArray[Any], npt.NDArray[Any]]:
        check_dense_target(y_val)
        X_val, y_val = check_validation_samples(self, X_val, y_val, y_numeric=True)
        check_numeric_target(y_val, "y_val")
        y_val = as_column_or_matrix(y_val)
        matrix = y_val.reshape(len(y_val), -1)
        if matrix.shape[1] != targets.matrix.shape[1]:
            raise ValueError(
                f"y_val has {matrix.shape[1]} targets, but y has {targets.matrix.shape[1]}. Pass "
                "those of the same targets."
            )
        check_target_domain(matrix, targets.heads[0].entry, self.loss, "y_val")
        if len(matrix) < 2 and self.scoring is None:
            raise ValueError(
                "X_val has a single sample, for which R2 is not defined. Pass more, or use "
                "scoring='loss'."
            )
        if "y_scale_" in vars(self):
            matrix = Scaling(self.y_mean_, self.y_scale_).done(matrix)
        return X_val, y_val, matrix, matrix

    def _weighed(
        self, targets: Targets, sample_weight: npt.NDArray[np.float64] | None, resumes: bool
    ) -> Targets:
        scaling = self._scaling(targets.matrix, sample_weight, resumes)
        self._drop(("y_mean_", "y_scale_"))
        if scaling is None:
            return replace(targets, weight=sample_weight)
        self.y_mean_, self.y_scale_ = scaling
        # Scores do not depend on the scale.
        matrix = scaling.done(targets.matrix)
        return replace(targets, matrix=matrix, scored=matrix, weight=sample_weight)

    def _fit_dtype(self, so_far: Any) -> str:
        dtype = super()._fit_dtype(so_far)
        if "y_scale_" in vars(self):
            check_holds(Scaling(self.y_mean_, self.y_scale_), dtype)
        return dtype

    def _scaling(
        self,
        matrix: npt.NDArray[Any],
        sample_weight: npt.NDArray[np.float64] | None,
        resumes: bool,
    ) -> Scaling | None:
        """Return how y is scaled: as in the fit that this one goes on from, or by itself."""
        if resumes and "_network" in vars(self):
            return scaling_to_go_on_with(self, matrix.shape[1])
        return None if self.y_scale is None else scaling_of(matrix, sample_weight)

    def _validation_score(
        self,
        network: NetworkSpec,
        targets: npt.NDArray[Any],
        outputs: FloatArray,
        sample_weight: npt.NDArray[np.float64] | None,
    ) -> float:
        """Return what `score` does; NaN where squares overflow."""
        values = outputs[:, : targets.shape[1]]  # of a distribution the means
        with np.errstate(over="ignore", invalid="ignore"):
            if network.head.loss.name == "quantile" and len(targets) > 1:
                blocks = outputs.reshape(len(outputs), -1, targets.shape[1])
                levels = network.head.loss.constants
                score = explained_pinball(targets, blocks.swapaxes(1, 2), levels, sample_weight)
            else:
                score = r_squared(targets, values, sample_weight)
        return score if np.isfinite(score) else float("nan")

    def _final_outputs(self, trained: Trained, compute: Compute) -> FloatArray:
        """Return predictions, and deviations if there are any, in units of y."""
        network, outputs = trained.network, compute(trained)
        scaling = fitted_scaling(self, network)
        if scaling is None:
            return outputs
        blocks = outputs.reshape(len(outputs), -1, network.target_columns)
        n_means = 1 if predicts_deviations(network) else blocks.shape[1]
        values, deviations = blocks[:, :n_means], blocks[:, n_means:]
        parts = scaling.undone(values), scaling.stretched(deviations)
        return np.concatenate(parts, axis=1).reshape(outputs.shape)

    def _keep_out_of_bag(
        self, outputs: FloatArray, known: npt.NDArray[np.bool_], targets: Targets
    ) -> None:
        network, n_samples = self._network, len(outputs)
        of_known = targets.y.reshape(n_samples, -1)[known], outputs[known]
        score = self._validation_score(network, *of_known, None) if known.any() else np.nan
        self.oob_score_ = float(score)
        blocks = outputs.reshape(n_samples, -1, network.target_columns)
        self.oob_prediction_ = shaped(
            network, blocks[:, :1] if predicts_deviations(network) else blocks
        )

    def _explained(self, network: NetworkSpec) -> Outputs:
        return predictions_of(network, fitted_scaling(self, network))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = needs_positive(self.loss)
        return tags


def predicts_deviations(network: NetworkSpec) -> bool:
    """Whether there is a standard deviation beside each mean."""
    return network.head.entry.link.units_per_target == 2


def shaped(network: NetworkSpec, blocks: FloatArray) -> FloatArray:
    """Return predictions as users take them.

    Parameters
    ----------
    network : NetworkSpec
    blocks : ndarray of shape (n_samples, n_each, n_targets)
        As many for each target as there are quantiles, else one.
    """
    n_targets = network.target_columns
    if network.head.entry.has_any_number:
        values = np.ascontiguousarray(blocks.swapaxes(1, 2))
        return values[:, 0] if n_targets == 1 else values
    shape = len(blocks) if n_targets == 1 else (len(blocks), n_targets)
    return np.ascontiguousarray(blocks).reshape(shape)


def shown_loss(head: HeadSpec) -> str:
    """Return a fitted loss as users write it; one of their own has a name for machines."""
    is_own = (head.loss.name, head.link) in CUSTOM_LOSSES
    return "Custom(...)" if is_own else repr(head.loss.name)


def explained_pinball(
    targets: npt.NDArray[Any],
    predicted: FloatArray,
    levels: Sequence[float],
    sample_weight: Any,
) -> float:
    """Return the part of the pinball loss that is explained, averaged over targets and quantiles.

    Parameters
    ----------
    targets : ndarray of shape (n_samples,) or (n_samples, n_targets)
    predicted : ndarray of shape (n_samples[, n_targets][, n_levels])
    levels : sequence of float
    sample_weight : array-like of shape (n_samples,) or None
    """
    from sklearn.metrics import d2_pinball_score

    n_samples = len(predicted)
    values = predicted.reshape(n_samples, -1, len(levels))
    scores = [
        d2_pinball_score(targets, values[:, :, k], sample_weight=sample_weight, alpha=level)
        for k, level in enumerate(levels)
    ]
    return float(np.mean(scores))


def are_sound(values: Any) -> bool:
    """Whether values are such that `sklearn.metrics.r2_score` would take them as they are."""
    return (
        type(values) is np.ndarray
        and values.ndim in (1, 2)
        and len(values) > 1
        and values.size > 0
        and (values.dtype.kind == "i" or values.dtype in (np.float32, np.float64))
        and values.dtype.isnative
        and is_finite(values)
    )


def determination(y: npt.NDArray[Any], predicted: Any) -> float:
    """Return R2 as `sklearn.metrics.r2_score` does, sooner for sound values."""
    if are_sound(predicted) and predicted.shape == y.shape:
        return r_squared(y.reshape(len(y), -1), predicted.reshape(len(y), -1), None)
    from sklearn.metrics import r2_score

    return float(r2_score(y, predicted))


def r_squared(
    targets: npt.NDArray[Any], outputs: FloatArray, sample_weight: npt.NDArray[np.float64] | None
) -> float:
    """Return what `sklearn.metrics.r2_score` does, to the last bit, for arrays known to be sound.

    Its validation takes longer than an epoch of a small fit, and early stopping scores each one.
    """
    arrays = [targets, outputs] if sample_weight is None else [targets, outputs, sample_weight]
    dtype = np.result_type(*(array.dtype for array in arrays if array.dtype.kind == "f"))
    targets = targets.astype(dtype, copy=False)
    weight = 1.0 if sample_weight is None else sample_weight[:, np.newaxis]
    mean = np.average(targets, axis=0, weights=sample_weight)
    residual = np.sum(weight * (targets - outputs) ** 2, axis=0)
    total = np.sum(weight * (targets - mean) ** 2, axis=0)
    # Constant targets score 1 if they are met exactly, else 0.
    scores = (residual == 0).astype(residual.dtype)
    varies = total != 0
    scores[varies] = 1 - residual[varies] / total[varies]
    return float(np.average(scores))
