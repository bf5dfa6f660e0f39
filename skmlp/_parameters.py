"""The table of the constructor's parameters: each is stated here, once.

From it come the constraints that a fit checks, the answers to names of other libraries, the
warnings of parameters without effect and the table in the documentation. The signatures and the
docstrings are written out, for readers and tools, and tests compare them with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np

from skmlp import activations, losses, optimizers, schedules
from skmlp._choices import EachOf, OneOf, same, text_of
from skmlp._constraints import ConnectivityOptions
from skmlp._held_out import ScoringOptions
from skmlp._initial import InitOptions
from skmlp._sklearn_compat import Interval, Options, StrOptions, make_constraint
from skmlp._solvers import STOCHASTIC_SOLVERS
from skmlp._splitting import SplitterOptions
from skmlp._validation import (
    DEVICES,
    HIDDEN_ACTIVATIONS,
    PRECISIONS,
    FloatOptions,
)
from skmlp._vocabulary import Synonyms
from skmlp._warning import Remark
from skmlp.embeddings import EmbeddingOptions
from skmlp.network.activations import ALIASES
from skmlp.network.losses import REGRESSION_LINKS
from skmlp.network.optimizers import OPTIMIZERS
from skmlp.network.specs import NORMALIZATIONS, PARAMETRIZATIONS
from skmlp.training.history import SECONDS
from skmlp.training.monitors import MONITORS
from skmlp.training.schedules import BY_STEPS, SCHEDULES


class Condition(NamedTuple):
    """What another parameter must be so that one has an effect.

    Attributes
    ----------
    parameter : str
        The other one.
    values : tuple
        Values, or classes of choices.
    excluded : bool
        Whether it must be none of the values, instead of one of them.
    """

    parameter: str
    values: tuple[Any, ...]
    excluded: bool = False

    def holds(self, value: Any) -> bool:
        """Whether a value of the other parameter meets it."""
        return self.excluded != any(is_one(value, option) for option in self.values)

    def __str__(self) -> str:
        values = " or ".join(map(text_of, self.values))
        return (
            f"any {self.parameter} but {values}" if self.excluded else f"{self.parameter}={values}"
        )


def only_with(parameter: str, *values: Any) -> Condition:
    """Return the condition that a parameter has one of these values."""
    return Condition(parameter, values)


def not_with(parameter: str, *values: Any) -> Condition:
    """Return the condition that a parameter has none of these values."""
    return Condition(parameter, values, excluded=True)


def is_one(value: Any, option: Any) -> bool:
    """Whether a value is what an option says: equal to it, or an object of that class."""
    return isinstance(value, option) if isinstance(option, type) else same(value, option)


BOTH = ("MLPClassifier", "MLPRegressor")
CLASSIFIER = ("MLPClassifier",)


@dataclass(frozen=True)
class Parameter:
    """A parameter of the constructors.

    Attributes
    ----------
    name : str
    default : object
    kind : str
        Its values, as numpydoc has them: what stands before the default in the docstrings.
    constraints : list
        One of which a value must satisfy, as scikit-learn has them.
    text : str
        What it is, in half a sentence: how its description in the docstrings begins.
    applies_to : tuple of Condition
        All of these must hold, or else it has no effect. It is a warning only of parameters that
        scikit-learn does not have.
    synonyms : tuple of Synonyms
        Names that other libraries have for it.
    values : mapping of str to str
        For each value, or name of a class, what others call it: without capitals, spaces and
        punctuation. Names of classes and functions count too: torch.optim.Adam, np.tanh.
    is_added : bool
        Whether scikit-learn does not have it.
    estimators : tuple of str
        The classes that have it.
    key : str
        What it stands under in the table, where another one has its name.
    """

    name: str
    default: Any
    kind: str
    constraints: list[Any]
    text: str
    applies_to: tuple[Condition, ...] = ()
    synonyms: tuple[Synonyms, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    is_added: bool = False
    estimators: tuple[str, ...] = BOTH
    key: str = ""


STOCHASTIC = not_with("solver", "lbfgs")
SGD = only_with("solver", "sgd")
ADAM = only_with("solver", *(n for n, entry in OPTIMIZERS.items() if "beta_1" in entry.binds))
PENALTY = (
    "alpha is halved and divided by the number of samples in the batch, like the loss, and leaves "
    "intercepts out"
)

# What others call the schedules that change from step to step.
STEPWISE_VALUES = {
    "step": "steplr stepdecay",
    "exponential": "exponentiallr exponentialdecay exp",
    "polynomial": "linear linearlr lineardecay polynomiallr polynomialdecay poly",
    "cosine": "cosinedecay cosineannealing cosineannealinglr cosineschedule coslr cos",
    "cosine_restarts": "cosineannealingwarmrestarts cosinedecayrestarts warmrestarts sgdr",
    "one_cycle": "onecyclelr 1cycle fitonecycle superconvergence",
    "flat_cos": "fitflatcos flatcosine",
    "inverse_sqrt": "inversesquareroot rsqrt noam noamlr",
}
STEPWISE = OneOf(BY_STEPS, schedules.STEPWISE_CLASSES)

ACTIVATION = OneOf(HIDDEN_ACTIVATIONS | ALIASES.keys(), activations.OBJECTS)
SHARE = Interval(Real, 0, 1, closed="left")
NORMALIZATION = OneOf(set(NORMALIZATIONS))
MONITOR = OneOf({SECONDS, *MONITORS})

# In the order of the signatures.
PARAMETERS: dict[str, Parameter] = {
    parameter.key or parameter.name: parameter
    for parameter in (
        Parameter(
            "loss",
            "squared_error",
            "str or object of `skmlp.losses`",
            [OneOf(REGRESSION_LINKS, losses.CLASSES)],
            "What to minimize",
            estimators=("MLPRegressor",),
            synonyms=(
                Synonyms(
                    "criterion objective distribution loss_func loss_fn loss_function cost "
                    "cost_function"
                ),
            ),
            values={
                "squared_error": "mse mseloss meansquarederror squaredloss leastsquares ls l2 "
                "quadratic gaussian regsquarederror",
                "poisson": "poissonnllloss poissonnll poissondeviance countpoisson",
                "gaussian_nll": "gaussiannllloss normal nll mve meanvariance heteroscedastic",
                "laplace_nll": "laplacenllloss laplace",
                "absolute_error": "mae l1 l1loss meanabsoluteerror lad absolute regabsoluteerror",
                "huber": "huberloss smoothl1 smoothl1loss",
                "log_cosh": "logcosherror",
                "quantile": "pinball quantileloss quantileregression regquantileerror",
                "gamma": "gammadeviance reggamma",
                "tweedie": "tweediedeviance regtweedie",
            },
        ),
        Parameter(
            "hidden_layer_sizes",
            (100,),
            "int or array-like of shape (n_layers - 2,)",
            ["array-like", Interval(Integral, 1, None, closed="left")],
            "Number of units in each hidden layer",
            synonyms=(
                Synonyms(
                    "units hidden hidden_layers hidden_layer_size hidden_sizes hidden_size "
                    "hidden_units hidden_dim hidden_dims hidden_width n_hidden num_hidden n_units "
                    "layers layer_sizes size",
                    "It holds the units of each hidden layer, without those of input and output.",
                ),
            ),
        ),
        Parameter(
            "activation",
            "relu",
            "str, object of `skmlp.activations` or tuple of these",
            [ACTIVATION, EachOf(ACTIVATION)],
            "Activation function of the hidden layers",
            synonyms=(
                Synonyms("act act_cls act_fn activation_fn activation_function nonlinearity"),
            ),
            values={
                "identity": "linear none nonetype purelin",
                "logistic": "logsig expit",
                "relu": "rectifier rectified rectifiedlinear",
                "silu": "sigmoidlinearunit",
                "gelu": "gaussianerrorlinear",
                "gelu_tanh": "gelunew gelufast geluapproximate",
                "exponential": "exp",
                "step": "heaviside hardlim binarystep perceptron threshold",
                "leaky_relu": "lrelu leakyrelu leakyrectify",
                "prelu": "parametricrelu",
                "tanh": "tansig hyperbolictangent",
            },
        ),
        Parameter(
            "solver",
            "adam",
            "str or object of `skmlp.optimizers`",
            [OneOf({"lbfgs", *STOCHASTIC_SOLVERS}, optimizers.OBJECTS.values())],
            "What minimizes the loss",
            synonyms=(
                Synonyms("optimizer optimiser optim opt opt_func optimizer_class algorithm method"),
            ),
            values={
                "lbfgs": "lbfgsb bfgs quasinewton",
                "sgd": "gd gradientdescent stochasticgradientdescent momentum nesterov",
                "lion": "lion32bit evolvedsignmomentum",
                "nadam": "nesterovadam adamnesterov",
                "amsgrad": "adamamsgrad amsgradadam",
                "adamax": "adaminfinity",
                "rmsprop": "rmspropgraves rootmeansquareprop",
                "muon": "muonwithauxadam singledevicemuonwithauxadam singledevicemuon",
            },
        ),
        Parameter(
            "alpha",
            0.0001,
            "float",
            [Interval(Real, 0, None, closed="left")],
            "Strength of the L2 penalty ``alpha / 2 * sum(coefs ** 2)``",
            synonyms=(
                Synonyms(
                    "l2 l2_reg l2_regularization l2_penalty lambda reg reg_lambda reg_param "
                    "penalty regularization kernel_regularizer",
                    f"{PENALTY}: alpha=2*l2*batch_size is the kernel_regularizer L2(l2) of Keras.",
                ),
            ),
        ),
        Parameter(
            "batch_size",
            "auto",
            "int",
            [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
            "Samples per minibatch",
            applies_to=(STOCHASTIC,),
            synonyms=(Synonyms("batch bs mini_batch_size block_size"),),
        ),
        Parameter(
            "learning_rate",
            "constant",
            "str, object of `skmlp.schedules` or callable",
            [OneOf(SCHEDULES, schedules.CLASSES), callable],
            "Schedule of the learning rate",
            applies_to=(STOCHASTIC,),
            synonyms=(
                Synonyms(
                    "schedule scheduler lr_schedule lr_scheduler lr_policy learning_rate_schedule "
                    "learning_rate_scheduler",
                    "It is a schedule's name or object, or a function.",
                ),
            ),
            values={
                "constant": "fixed none nonetype",
                "invscaling": "inversescaling inversetimedecay",
                "plateau": "reduceonplateau reducelronplateau",
                **STEPWISE_VALUES,
            },
        ),
        Parameter(
            "learning_rate_init",
            0.001,
            "float",
            [Interval(Real, 0, None, closed="neither")],
            "Step size at the start",
            applies_to=(STOCHASTIC,),
            synonyms=(
                Synonyms(
                    "lr eta eta0 lr_init initial_lr init_lr base_lr lr_max max_lr learn_rate "
                    "initial_learning_rate rate step_size"
                ),
            ),
        ),
        Parameter(
            "power_t",
            0.5,
            "float",
            [Interval(Real, 0, None, closed="left")],
            "Exponent of the 'invscaling' schedule",
            applies_to=(SGD, only_with("learning_rate", "invscaling")),
        ),
        Parameter(
            "max_iter",
            200,
            "int",
            [Interval(Integral, 1, None, closed="left")],
            "Maximum number of epochs",
            synonyms=(
                Synonyms(
                    "epochs epoch n_epoch n_epochs nb_epoch nb_epochs num_epochs max_epochs "
                    "max_epoch training_epochs iterations n_iter n_iters num_iter n_iterations "
                    "num_iterations max_iterations iteration_limit maxit"
                ),
            ),
        ),
        Parameter(
            "shuffle",
            True,
            "bool",
            ["boolean"],
            "Whether to draw a new order of the samples for every epoch",
            applies_to=(STOCHASTIC,),
            synonyms=(Synonyms("shuffle_data shuffle_training_data"),),
        ),
        Parameter(
            "random_state",
            None,
            "int, RandomState instance or None",
            ["random_state"],
            "Determines the initial weights, the held-out samples of `early_stopping` and the "
            "order of the samples",
            synonyms=(
                Synonyms("seed random_seed rng generator random_generator manual_seed prng"),
            ),
        ),
        Parameter(
            "tol",
            1e-4,
            "float",
            [Interval(Real, 0, None, closed="left")],
            "An epoch improves if the loss falls, or the validation score rises, by more than "
            "`tol`",
            synonyms=(
                Synonyms(
                    "min_delta tolerance stopping_tolerance tolerance_grad gradient_tolerance"
                ),
            ),
        ),
        Parameter(
            "verbose",
            False,
            "bool or int",
            ["verbose"],
            "Whether to print the loss of every epoch",
            synonyms=(Synonyms("verbosity log_level print_every trace"),),
        ),
        Parameter(
            "warm_start",
            False,
            "bool",
            ["boolean"],
            "Whether `fit` goes on from the earlier fit instead of starting anew",
        ),
        Parameter(
            "momentum",
            0.9,
            "float",
            [Interval(Real, 0, 1, closed="both")],
            "Momentum of 'sgd'",
            applies_to=(SGD,),
            synonyms=(Synonyms("mom moms momentum_start momentum_stable"),),
        ),
        Parameter(
            "nesterovs_momentum",
            True,
            "bool",
            ["boolean"],
            "Whether 'sgd' uses Nesterov's momentum",
            applies_to=(SGD,),
            synonyms=(Synonyms("nesterov use_nesterov nesterov_accelerated_gradient"),),
        ),
        Parameter(
            "early_stopping",
            False,
            "bool",
            ["boolean"],
            "Whether to hold out `validation_fraction` of the samples, to stop when the score on "
            "them no longer improves, and to keep the weights with the best score",
            applies_to=(STOCHASTIC,),
            synonyms=(Synonyms("early_stop use_early_stopping"),),
        ),
        Parameter(
            "validation_fraction",
            0.1,
            "float or splitter",
            [Interval(Real, 0, 1, closed="left"), SplitterOptions()],
            "Share of the samples that `early_stopping` holds out",
            applies_to=(STOCHASTIC, only_with("early_stopping", True)),
            synonyms=(
                Synonyms(
                    "validation_split val_fraction val_split valid_pct val_size validation_size "
                    "train_split",
                    "It needs early_stopping=True.",
                ),
            ),
        ),
        Parameter(
            "beta_1",
            0.9,
            "float",
            [Interval(Real, 0, 1, closed="left")],
            "Decay rate of the first moment in 'adam' and its kin",
            applies_to=(ADAM,),
            synonyms=(Synonyms("betas beta", beside=("beta_2",)),),
        ),
        Parameter(
            "beta_2",
            0.999,
            "float",
            [Interval(Real, 0, 1, closed="left")],
            "Decay rate of the second moment in 'adam' and its kin",
            applies_to=(ADAM,),
        ),
        Parameter(
            "epsilon",
            1e-8,
            "float",
            [Interval(Real, 0, None, closed="neither")],
            "Added to the denominator in 'adam' and its kin",
            applies_to=(ADAM,),
            synonyms=(Synonyms("eps adam_epsilon"),),
        ),
        Parameter(
            "n_iter_no_change",
            10,
            "int or inf",
            [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
            "Number of epochs without improvement that are tolerated",
            applies_to=(STOCHASTIC,),
            synonyms=(
                Synonyms(
                    "patience stopping_rounds early_stopping_rounds early_stopping_patience "
                    "validation_patience",
                    "It counts epochs; early_stopping=True watches the score of held-out samples "
                    "instead of the training loss.",
                ),
            ),
        ),
        Parameter(
            "max_fun",
            15000,
            "int",
            [Interval(Integral, 1, None, closed="left")],
            "Maximum number of loss evaluations of 'lbfgs'",
            applies_to=(only_with("solver", "lbfgs"),),
            synonyms=(Synonyms("max_eval max_evals max_fev"),),
        ),
        Parameter(
            "weight_decay",
            0.0,
            "float",
            [Interval(Real, 0, None, closed="left")],
            "Strength of the decoupled weight decay",
            applies_to=(STOCHASTIC,),
            synonyms=(
                Synonyms(
                    "wd decoupled_weight_decay",
                    "It is that of PyTorch's AdamW, and leaves intercepts out. The weight_decay "
                    f"of its Adam and SGD is alpha=weight_decay*batch_size: {PENALTY}.",
                ),
            ),
            is_added=True,
        ),
        Parameter(
            "clip_norm",
            None,
            "float or None",
            [Interval(Real, 0, None, closed="neither"), None],
            "Largest norm of a batch's gradient",
            applies_to=(STOCHASTIC,),
            synonyms=(
                Synonyms(
                    "global_clipnorm max_grad_norm grad_clip gradient_clip gradient_clipping "
                    "gradient_clip_val clip_grad_norm grad_clip_norm",
                    "It is the norm over all parameters together.",
                ),
            ),
            is_added=True,
        ),
        Parameter(
            "dtype",
            "auto",
            "{'auto', 'float32', 'float64'} or dtype-like",
            [FloatOptions()],
            "Precision of the weights and of the computation",
            synonyms=(Synonyms("data_type float_type floatx torch_dtype default_dtype"),),
            is_added=True,
        ),
        Parameter(
            "n_jobs",
            None,
            "int or None",
            [Integral, None],
            "Number of threads on the CPU",
            synonyms=(
                Synonyms(
                    "n_threads num_threads nthread thread_count threads n_cores num_cores n_cpus "
                    "workers n_workers num_workers"
                ),
            ),
            is_added=True,
        ),
        Parameter(
            "device",
            "cpu",
            "{'cpu', 'cuda', 'auto'}",
            [StrOptions(DEVICES)],
            "Where to compute",
            synonyms=(Synonyms("gpu use_gpu cuda use_cuda accelerator"),),
            values={"cuda": "gpu cuda0 gpu0 nvidia"},
            is_added=True,
        ),
        Parameter(
            "precision",
            None,
            "{None, 'tf32', 'bf16'}",
            [StrOptions(PRECISIONS), None],
            "Format to which a GPU rounds the factors in products of matrices",
            applies_to=(not_with("device", "cpu"),),
            synonyms=(Synonyms("mixed_precision matmul_precision amp"),),
            values={"tf32": "tensorfloat32", "bf16": "bfloat16"},
            is_added=True,
        ),
        Parameter(
            "dropout",
            0.0,
            "float or tuple of float",
            [SHARE, EachOf(SHARE)],
            "Share of the hidden units' outputs that each training step drops",
            applies_to=(STOCHASTIC,),
            synonyms=(Synonyms("dropout_rate p_drop ps hidden_dropout hidden_dropout_ratios"),),
            is_added=True,
        ),
        Parameter(
            "input_dropout",
            0.0,
            "float",
            [SHARE],
            "The same for the inputs",
            applies_to=(STOCHASTIC,),
            synonyms=(Synonyms("input_dropout_ratio input_dropout_rate dropout_input"),),
            is_added=True,
        ),
        Parameter(
            "normalization",
            None,
            "{None, 'layer', 'batch'} or tuple of these",
            [NORMALIZATION, None, EachOf(NORMALIZATION, or_none=True)],
            "What is done to the pre-activations of each hidden layer",
            synonyms=(
                Synonyms(
                    "use_bn use_batch_norm use_layer_norm batch_norm bn layer_norm norm norm_layer "
                    "norm_type normalization_layer",
                    "It takes None, 'layer' or 'batch', or a tuple with one for each layer.",
                ),
            ),
            values={
                "layer": "layernorm layernormalization ln",
                "batch": "batchnorm batchnorm1d batchnormalization bn",
            },
            is_added=True,
        ),
        Parameter(
            "init",
            "glorot_uniform",
            "str, object of `skmlp.initializers` or tuple",
            [InitOptions()],
            "Where a fit starts that does not go on from an earlier one",
            synonyms=(
                Synonyms(
                    "initializer kernel_initializer weight_init weights_init init_weights "
                    "initialization initial_weight_distribution init_method init_fn "
                    "kernel_init initialweights"
                ),
            ),
            values={
                "glorot_uniform": "glorot xavier xavieruniform uniformadaptive",
                "glorot_normal": "xaviernormal",
                "he_uniform": "kaiminguniform",
                "he_normal": "he kaiming kaimingnormal",
                "lecun_normal": "lecun",
                "ntk": "neuraltangent",
                "From": "mlpclassifier mlpregressor",
            },
            is_added=True,
        ),
        Parameter(
            "dropout_schedule",
            None,
            "str, object of `skmlp.schedules`, callable or None",
            [STEPWISE, callable, None],
            "Schedule of `dropout` and `input_dropout`",
            applies_to=(STOCHASTIC,),
            synonyms=(Synonyms("dropout_sched p_drop_sched p_drop_schedule"),),
            values=STEPWISE_VALUES,
            is_added=True,
        ),
        Parameter(
            "weight_decay_schedule",
            None,
            "str, object of `skmlp.schedules`, callable or None",
            [STEPWISE, callable, None],
            "Schedule of the weight decay",
            applies_to=(STOCHASTIC,),
            synonyms=(Synonyms("weight_decay_sched wd_sched wd_schedule"),),
            values=STEPWISE_VALUES,
            is_added=True,
        ),
        Parameter(
            "l1_ratio",
            0.0,
            "float",
            [Interval(Real, 0, 1, closed="both")],
            "Share of the L1 penalty in `alpha`",
            applies_to=(not_with("alpha", 0.0),),
            synonyms=(
                Synonyms(
                    "l1 l1_reg l1_regularization l1_penalty lambda_l1 reg_alpha elastic_net_param",
                    "The L1 penalty is alpha * l1_ratio * sum(abs(coefs)), and as alpha it is "
                    "divided by the number of samples in the batch.",
                ),
            ),
            is_added=True,
        ),
        Parameter(
            "clip_value",
            None,
            "float or None",
            [Interval(Real, 0, None, closed="neither"), None],
            "Largest size of each entry of a batch's gradient",
            applies_to=(STOCHASTIC,),
            synonyms=(Synonyms("gradient_clip_value grad_clip_value clip_grad_value clip_grad"),),
            is_added=True,
        ),
        Parameter(
            "max_norm",
            None,
            "float or None",
            [Interval(Real, 0, None, closed="neither"), None],
            "Largest norm of a unit's incoming weights",
            applies_to=(STOCHASTIC,),
            synonyms=(
                Synonyms("kernel_constraint weight_constraint max_weight_norm"),
                Synonyms("max_w2", "H2O's max_w2 is the square of max_norm."),
            ),
            is_added=True,
        ),
        Parameter(
            "connectivity",
            1.0,
            "float or tuple",
            [ConnectivityOptions()],
            "Share of the connections to hidden units that there are",
            synonyms=(Synonyms("connectedness connections connection_density weight_mask masks"),),
            is_added=True,
        ),
        Parameter(
            "monotonic_cst",
            None,
            "array-like of int of shape (n_features,), dict or None",
            ["array-like", dict, None],
            "Monotone constraints on features",
            synonyms=(
                Synonyms(
                    "monotone_constraints monotonic_constraints monotonicity monotonicities "
                    "monotonicity_indicator"
                ),
            ),
            is_added=True,
        ),
        Parameter(
            "frozen_layers",
            0,
            "int",
            [Interval(Integral, 0, None, closed="left")],
            "Number of layers, from the input on, that are not trained",
            synonyms=(Synonyms("n_frozen frozen freeze freeze_layers n_frozen_layers"),),
            is_added=True,
        ),
        Parameter(
            "input_noise",
            0.0,
            "float",
            [Interval(Real, 0, None, closed="left")],
            "Standard deviation of the Gaussian noise that each training step adds to the inputs",
            applies_to=(STOCHASTIC,),
            synonyms=(Synonyms("gaussian_noise noise_std noise input_noise_std"),),
            is_added=True,
        ),
        Parameter(
            "mixup",
            0.0,
            "float",
            [Interval(Real, 0, None, closed="left")],
            "Concentration of the shares by which each training step mixes samples",
            applies_to=(STOCHASTIC,),
            synonyms=(Synonyms("mixup_alpha mixup_concentration"),),
            is_added=True,
        ),
        Parameter(
            "scoring",
            None,
            "str, callable or None",
            [ScoringOptions(), callable, None],
            "What `early_stopping` watches",
            applies_to=(STOCHASTIC, only_with("early_stopping", True)),
            synonyms=(Synonyms("metric metrics eval_metric stopping_metric early_stop_scoring"),),
            values={"loss": "valloss validationloss"},
            is_added=True,
        ),
        Parameter(
            "restore_best",
            None,
            "bool or None",
            ["boolean", None],
            "Whether the fit ends with its best weights, whatever ends it, or with the last ones",
            applies_to=(STOCHASTIC,),
            synonyms=(
                Synonyms("restore_best_weights load_best overwrite_with_best_model use_best_model"),
            ),
            is_added=True,
        ),
        Parameter(
            "min_iter",
            1,
            "int",
            [Interval(Integral, 1, None, closed="left")],
            "Number of epochs before which `n_iter_no_change` does not end the fit",
            applies_to=(STOCHASTIC,),
            synonyms=(Synonyms("min_epochs min_epoch start_from_epoch"),),
            is_added=True,
        ),
        Parameter(
            "max_time",
            None,
            "float or None",
            [Interval(Real, 0, None, closed="neither"), None],
            "Seconds of training after which the fit ends",
            synonyms=(
                Synonyms("max_runtime_secs max_seconds max_runtime time_limit time_budget timeout"),
            ),
            is_added=True,
        ),
        Parameter(
            "monitor",
            None,
            "str, tuple of str or None",
            [MONITOR, EachOf(MONITOR, per_layer=False), None],
            "What else to record in `history_` after each epoch",
            applies_to=(STOCHASTIC,),
            values={"validation_loss": "valloss", "gradient_norm": "gradnorm"},
            is_added=True,
        ),
        Parameter(
            "ema_decay",
            None,
            "float or None",
            [SHARE, None],
            "Decay rate of exponential averages of the weights",
            applies_to=(STOCHASTIC,),
            synonyms=(
                Synonyms(
                    "ema use_ema ema_momentum ema_rate model_ema model_ema_decay polyak_averaging "
                    "weight_averaging average_decay swa use_swa",
                    "It is the factor by which a step's share falls with each later step, as in "
                    "ema_decay=0.99; None averages nothing.",
                ),
            ),
            is_added=True,
        ),
        Parameter(
            "loss",
            "log_loss",
            "str or object of `skmlp.losses`",
            [OneOf(losses.CLASSIFIER_LOSSES, losses.CLASSIFIER_CLASSES)],
            "What to minimize",
            values={
                "log_loss": "crossentropy crossentropyloss bce bceloss bcewithlogitsloss "
                "binarycrossentropy categoricalcrossentropy sparsecategoricalcrossentropy "
                "deviance logistic nllloss negativeloglikelihood logloss",
                "focal": "focalloss binaryfocalcrossentropy categoricalfocalcrossentropy",
                "hinge": "hingeloss hingeembeddingloss categoricalhinge multimarginloss svm",
                "squared_hinge": "squaredhingeloss",
                "squared_error": "brier brierscore brierloss",
            },
            is_added=True,
            estimators=CLASSIFIER,
            key="loss of MLPClassifier",
        ),
        Parameter(
            "label_smoothing",
            0.0,
            "float",
            [SHARE],
            "Share of each label's probability that is spread evenly over all classes",
            applies_to=(only_with("loss", "log_loss", "focal", losses.Focal),),
            synonyms=(Synonyms("ls_eps label_smooth smoothing label_smoothing_eps"),),
            is_added=True,
            estimators=CLASSIFIER,
        ),
        Parameter(
            "class_weight",
            None,
            "dict, 'balanced', list or None",
            [dict, list, StrOptions({"balanced"}), None],
            "Weights of the classes",
            synonyms=(Synonyms("class_weights classes_weight balance_classes auto_class_weights"),),
            is_added=True,
            estimators=CLASSIFIER,
        ),
        Parameter(
            "temperature",
            1.0,
            "float or 'fit'",
            [Interval(Real, 0, None, closed="neither"), StrOptions({"fit"})],
            "What the scores are divided by that become probabilities",
            applies_to=(only_with("loss", "log_loss", "focal", "squared_error", losses.Focal),),
            synonyms=(Synonyms("temperature_scaling softmax_temperature"),),
            is_added=True,
            estimators=CLASSIFIER,
        ),
        Parameter(
            "y_scale",
            None,
            "{None, 'standard'}",
            [StrOptions({"standard"}), None],
            "What is done to y before the fit, and undone in predictions",
            synonyms=(
                Synonyms(
                    "scale_y normalize_y standardize_y target_scaler y_scaler scale_target "
                    "target_transform y_transform",
                    "y_scale='standard' gives each target mean zero and variance one.",
                ),
            ),
            is_added=True,
            estimators=("MLPRegressor",),
        ),
        Parameter(
            "n_estimators",
            1,
            "int",
            [Interval(Integral, 1, None, closed="left")],
            "Number of networks",
            synonyms=(
                Synonyms(
                    "n_models num_models n_networks num_networks n_members ensemble_size "
                    "n_ensemble n_ens num_estimators",
                    "Above 1 it makes an ensemble.",
                ),
            ),
            is_added=True,
        ),
        Parameter(
            "bootstrap",
            False,
            "bool",
            ["boolean"],
            "Whether each network of an ensemble is trained on as many samples as there are, drawn "
            "with replacement",
            applies_to=(not_with("n_estimators", 1),),
            synonyms=(Synonyms("bagging bootstrap_samples use_bootstrap"),),
            is_added=True,
        ),
        Parameter(
            "oob_score",
            False,
            "bool",
            ["boolean"],
            "Whether to predict each sample by the networks that were not trained on it, and to "
            "score that",
            applies_to=(not_with("n_estimators", 1),),
            synonyms=(Synonyms("oob out_of_bag compute_oob"),),
            is_added=True,
        ),
        Parameter(
            "embedding",
            None,
            "str, object of `skmlp.embeddings`, tuple of them and None, or None",
            [EmbeddingOptions(), None],
            "What each feature becomes before the first layer",
            synonyms=(Synonyms("num_embeddings numerical_embeddings num_emb_type"),),
            is_added=True,
        ),
        Parameter(
            "input_scale",
            False,
            "bool",
            ["boolean"],
            "Whether each number that the first layer reads is multiplied by one that is learned",
            synonyms=(Synonyms("add_front_scale scaling_layer front_scale"),),
            is_added=True,
        ),
        Parameter(
            "parametrization",
            "standard",
            "{'standard', 'ntk'}",
            [StrOptions(set(PARAMETRIZATIONS))],
            "Of which numbers training makes the weights, and so how large its steps are",
            applies_to=(STOCHASTIC,),
            synonyms=(Synonyms("parameterization parametrisation weight_param"),),
            values={"ntk": "neuraltangent neuraltangentkernel"},
            is_added=True,
        ),
        Parameter(
            "learning_rate_factors",
            None,
            "dict or None",
            [dict, None],
            "Factors of the learning rate, by what parameters are",
            applies_to=(STOCHASTIC,),
            synonyms=(
                Synonyms(
                    "lr_factors lr_mult lr_multiplier lr_multipliers param_groups param_group "
                    "bias_lr_factor layerwise_lr",
                    "It is a dict such as {'intercepts': 0.1}.",
                ),
            ),
            is_added=True,
        ),
        Parameter(
            "weight_decay_factors",
            None,
            "dict or None",
            [dict, None],
            "Factors of the weight decay, by what parameters are",
            applies_to=(STOCHASTIC,),
            synonyms=(
                Synonyms(
                    "wd_factors decay_factors bias_wd_factor wd_mult decay_mult",
                    "It is a dict such as {'intercepts': 1.0}.",
                ),
            ),
            is_added=True,
        ),
    )
}


def parameters_of(estimator: str) -> dict[str, Parameter]:
    """Return the parameters that the estimator of this name has."""
    return {entry.name: entry for entry in PARAMETERS.values() if estimator in entry.estimators}


def constraints_of(estimator: str) -> dict[str, list[Any]]:
    """Return the constraints on the parameters of the estimator of this name."""
    return {name: entry.constraints for name, entry in parameters_of(estimator).items()}


class Known(NamedTuple):
    """What is known of a parameter's values where a fit begins.

    Attributes
    ----------
    default : object
        It satisfies the constraints.
    constraints : list
        Those of the table.
    checks : tuple of constraint
        The same as objects of scikit-learn's, which else are made anew for each look at a value.
    """

    default: Any
    constraints: list[Any]
    checks: tuple[Any, ...]


def known_of(estimator: str) -> dict[str, Known]:
    """Return what is known of the parameters that the estimator of this name has."""
    return {
        name: Known(
            entry.default, entry.constraints, tuple(map(make_constraint, entry.constraints))
        )
        for name, entry in parameters_of(estimator).items()
    }


SCALARS = frozenset({bool, float, int, str})


def is_default(value: Any, default: Any) -> bool:
    """Whether a value is a default and of its type for certain: True and 1.0 are equal to 1."""
    kind = type(value)
    return value is default or (kind in SCALARS and kind is type(default) and value == default)


def unlike_defaults(
    params: Mapping[str, Any], known: Mapping[str, Known], constraints: Mapping[str, list[Any]]
) -> dict[str, Any]:
    """Return the parameters that are not valid for being defaults, in their order.

    To look at a default takes less than at constraints, and most parameters have theirs. Of
    constraints that a subclass has in the place of the table's, nothing is known.
    """
    return {
        name: value
        for name, value in params.items()
        if (entry := known.get(name)) is None
        or (value is not entry.default and not is_default(value, entry.default))
        or constraints.get(name) is not entry.constraints
    }


def not_known_valid(
    params: Mapping[str, Any], known: Mapping[str, Known], constraints: Mapping[str, list[Any]]
) -> dict[str, Any]:
    """Return the parameters that scikit-learn has to look at, in their order."""
    return {
        name: value
        for name, value in params.items()
        if (entry := known.get(name)) is None
        or constraints.get(name) is not entry.constraints
        or not any(check.is_satisfied_by(value) for check in entry.checks)
    }


def ineffective_remarks(estimator: Any) -> list[Remark]:
    """Return what to warn of where a parameter was set that has no effect beside others.

    Those that scikit-learn has are passed over, as scikit-learn does.
    """
    remarks = []
    for entry in PARAMETERS.values():
        if not (entry.is_added and entry.applies_to):
            continue
        value = getattr(estimator, entry.name, entry.default)  # the other estimator may have it
        if is_default(value, entry.default) or same(value, entry.default):
            continue
        for condition in entry.applies_to:
            other = getattr(estimator, condition.parameter)
            if not condition.holds(other):
                message = (
                    f"{entry.name}={text_of(value)} has no effect with "
                    f"{condition.parameter}={text_of(other)}. Use {condition}, or leave "
                    f"{entry.name} out."
                )
                remarks.append(Remark(message, UserWarning))
                break
    return remarks
