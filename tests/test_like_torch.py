"""Fits are PyTorch's, loss by loss and weight by weight, where PyTorch is installed.

Each case is a small network with drawn weights, which both train: activations, losses, optimizers,
schedules, penalties and all else that no random numbers decide. The other side is written with
PyTorch's functions, optimizers and schedules where it has them, and from the papers' formulas where
it has none; what is ours by convention is said beside it. `NOT_COMPARED` says what is left out.
"""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from covering import covering
from numpy.testing import assert_allclose

from skmlp import MLPClassifier, MLPRegressor, activations, losses, optimizers, schedules
from skmlp._fitted import as_trained
from skmlp._formulas import name_of
from skmlp.network.activations import ACTIVATIONS, BLENDS
from skmlp.network.initializers import INITIALIZERS
from skmlp.network.links import LINKS
from skmlp.network.losses import LOSSES
from skmlp.network.optimizers import OPTIMIZERS
from skmlp.network.parameters import layout_of
from skmlp.network.penalties import PENALTIES
from skmlp.network.specs import NORMALIZATIONS
from skmlp.training.schedules import FUNCTION, SCHEDULES

torch = pytest.importorskip("torch", reason="needs PyTorch")
F = torch.nn.functional
lr_scheduler = torch.optim.lr_scheduler

N_SAMPLES, N_FEATURES, HIDDEN, EPOCHS = 45, 4, (5, 4), 10
# How many pieces a unit of maxout has here.
PIECES = 2


# Activations: what `activation` is given, PyTorch's function of the pre-activations and of what
# units learn, and where that starts.


@dataclass(frozen=True)
class Activation:
    given: object
    function: object
    start: float | None = None
    pieces: int = 1


def straight_through(z):
    # The value of a step, the derivative of hardtanh.
    passed = F.hardtanh(z)
    return (z > 0).to(z.dtype) + passed - passed.detach()


def largest_piece(z):
    return z.unflatten(1, (PIECES, -1)).amax(dim=1)


PLAIN = {
    "identity": Activation("identity", torch.nn.Identity()),
    "logistic": Activation("logistic", torch.sigmoid),
    "tanh": Activation("tanh", torch.tanh),
    "relu": Activation("relu", torch.relu),
    "gelu": Activation("gelu", F.gelu),
    "silu": Activation("silu", F.silu),
    "leaky_relu": Activation(
        activations.LeakyReLU(0.2), lambda z: F.leaky_relu(z, negative_slope=0.2)
    ),
    "elu": Activation(activations.ELU(0.7), lambda z: F.elu(z, alpha=0.7)),
    # The derivative of PyTorch's celu has a quotient in single precision.
    "celu": Activation(activations.CELU(0.7), lambda z: 0.7 * F.elu(z / 0.7)),
    "selu": Activation("selu", F.selu),
    "mish": Activation("mish", F.mish),
    "gelu_tanh": Activation(activations.GELU(True), lambda z: F.gelu(z, approximate="tanh")),
    # PyTorch's is a straight line from a threshold on.
    "softplus": Activation(
        activations.Softplus(1.5), lambda z: F.softplus(z, beta=1.5, threshold=700)
    ),
    "softsign": Activation("softsign", F.softsign),
    "log_sigmoid": Activation("log_sigmoid", F.logsigmoid),
    "scaled_logistic": Activation(
        activations.Logistic(1.5, 0.3), lambda z: torch.sigmoid(1.5 * (z - 0.3))
    ),
    "sinc": Activation("sinc", lambda z: torch.sinc(z / math.pi)),
    "exponential": Activation("exponential", torch.exp),
    # That of PyTorch's hardsigmoid has a sixth.
    "hard_sigmoid": Activation("hard_sigmoid", lambda z: F.relu6(z + 3) / 6),
    "hard_swish": Activation("hard_swish", F.hardswish),
    "hard_tanh": Activation("hard_tanh", F.hardtanh),
    "relu6": Activation("relu6", F.relu6),
}
ALL_ACTIVATIONS = {
    **PLAIN,
    "prelu": Activation("prelu", F.prelu, start=0.25),
    "maxout": Activation(activations.Maxout(PIECES), largest_piece, pieces=PIECES),
    "step": Activation("step", straight_through),
    "softmax": Activation("softmax", lambda z: F.softmax(z, dim=1)),
    **{
        f"blend_{name}": Activation(
            activations.Blend(plain.given),
            lambda z, blend, f=plain.function: z + blend * (f(z) - z),
            start=1.0,
        )
        for name, plain in PLAIN.items()
    },
}


# Losses: which targets, what the estimator is given, and the loss of each sample as a function of
# raw predictions and targets.


@dataclass(frozen=True)
class Loss:
    name: str
    link: str
    targets: str
    options: dict
    function: object


def total(losses_of_targets):
    return losses_of_targets.sum(dim=1)


def focal(raw, y, gamma=1.5, smoothing=0.0):
    log_p = F.log_softmax(raw, dim=1)
    classes = raw.shape[1]
    wanted = (1 - smoothing) * F.one_hot(y, classes) + smoothing / classes
    return -total(wanted * (1 - log_p.exp()) ** gamma * log_p)


def binary_focal(raw, y, gamma=1.5):
    log_p = torch.where(y == 1, F.logsigmoid(raw), F.logsigmoid(-raw))
    return -total((1 - log_p.exp()) ** gamma * log_p)


def squared_classes(raw, y):
    p = F.softmax(raw, dim=1)
    return total((p - F.one_hot(y, raw.shape[1])) ** 2) / 2


def missing_margin(raw, y):
    return F.relu(1 - (2 * y - 1) * raw)


def pinball(p, y, q):
    return torch.maximum(q * (y - p), (q - 1) * (y - p))


def pinballs(raw, y, levels=(0.1, 0.5, 0.8)):
    first, *others = raw.chunk(len(levels), dim=1)
    outputs = torch.cumsum(torch.stack([first, *map(F.softplus, others)]), dim=0)
    return sum(total(pinball(p, y, q)) for p, q in zip(outputs, levels, strict=True))


def tweedie(raw, y, power=1.3):
    a, b = 1 - power, 2 - power
    p = torch.exp(raw)
    return total(y**b / (a * b) - y * p**a / a + p**b / b)


def gaussian(raw, y):
    mean, log_variance = raw.chunk(2, dim=1)
    likelihood = F.gaussian_nll_loss(
        mean, y, torch.exp(log_variance), full=True, eps=1e-30, reduction="none"
    )
    return total(likelihood)


def laplace(raw, y):
    mean, log_variance = raw.chunk(2, dim=1)
    # The variance of a Laplace distribution is twice its squared scale.
    scale = torch.sqrt(torch.exp(log_variance) / 2)
    return -total(torch.distributions.Laplace(mean, scale).log_prob(y))


def smoothed_binary(raw, y, smoothing=0.3):
    wanted = (1 - smoothing) * y + smoothing / 2
    return total(F.binary_cross_entropy_with_logits(raw, wanted, reduction="none"))


ALL_LOSSES = (
    Loss(
        *("log_loss", "softmax", "classes", {}),
        lambda raw, y: F.cross_entropy(raw, y, reduction="none"),
    ),
    Loss(
        *("log_loss", "logistic", "binary", {}),
        lambda raw, y: total(F.binary_cross_entropy_with_logits(raw, y, reduction="none")),
    ),
    Loss("log_loss", "logistic", "labels", {"label_smoothing": 0.3}, smoothed_binary),
    Loss(
        *("smoothed_log_loss", "softmax", "classes", {"label_smoothing": 0.3}),
        lambda raw, y: F.cross_entropy(raw, y, label_smoothing=0.3, reduction="none"),
    ),
    Loss("focal", "softmax", "classes", {"loss": losses.Focal(1.5)}, focal),
    Loss(
        *("focal", "softmax", "classes", {"loss": losses.Focal(1.5), "label_smoothing": 0.3}),
        lambda raw, y: focal(raw, y, smoothing=0.3),
    ),
    Loss("focal", "logistic", "binary", {"loss": losses.Focal(1.5)}, binary_focal),
    Loss("squared_error", "softmax", "classes", {"loss": "squared_error"}, squared_classes),
    Loss(
        *("squared_error", "logistic", "labels", {"loss": "squared_error"}),
        lambda raw, y: total((torch.sigmoid(raw) - y) ** 2),
    ),
    # Of several classes each one against all others.
    Loss(
        *("hinge", "identity", "classes", {"loss": "hinge"}),
        lambda raw, y: total(missing_margin(raw, F.one_hot(y, raw.shape[1]))),
    ),
    Loss(
        *("squared_hinge", "identity", "labels", {"loss": "squared_hinge"}),
        lambda raw, y: total(missing_margin(raw, y) ** 2),
    ),
    Loss(
        *("squared_error", "identity", "real", {}),
        lambda raw, y: total(F.mse_loss(raw, y, reduction="none")) / 2,
    ),
    Loss(
        *("absolute_error", "identity", "real", {"loss": "absolute_error"}),
        lambda raw, y: total(F.l1_loss(raw, y, reduction="none")),
    ),
    Loss(
        *("huber", "identity", "real", {"loss": losses.Huber(0.6)}),
        lambda raw, y: total(F.huber_loss(raw, y, delta=0.6, reduction="none")),
    ),
    Loss(
        *("log_cosh", "identity", "real", {"loss": "log_cosh"}),
        lambda raw, y: total(torch.log(torch.cosh(y - raw))),
    ),
    Loss(
        *("quantile", "identity", "real", {"loss": losses.Quantile(0.8)}),
        lambda raw, y: total(pinball(raw, y, 0.8)),
    ),
    Loss(
        *("quantile", "increasing", "real", {"loss": losses.Quantile((0.1, 0.5, 0.8))}),
        pinballs,
    ),
    # PyTorch leaves out what does not depend on the prediction.
    Loss(
        *("poisson", "exp", "amounts", {"loss": "poisson"}),
        lambda raw, y: total(
            F.poisson_nll_loss(raw, y, log_input=True, reduction="none") + torch.xlogy(y, y) - y
        ),
    ),
    Loss(
        *("gamma", "exp", "positive", {"loss": "gamma"}),
        lambda raw, y: total(raw - torch.log(y) + y * torch.exp(-raw) - 1),
    ),
    Loss("tweedie", "exp", "amounts", {"loss": losses.Tweedie(1.3)}, tweedie),
    Loss("gaussian_nll", "gaussian", "real", {"loss": "gaussian_nll"}, gaussian),
    Loss("laplace_nll", "laplace", "real", {"loss": "laplace_nll"}, laplace),
)
# What predictions are made of raw ones, and how many of these a target has. Those of a quantile
# regression lie beside each other, target by target.


def rising(raw):
    first, *others = raw.unflatten(1, (3, -1)).unbind(dim=1)
    outputs = torch.stack([first, *map(F.softplus, others)], dim=2)
    return torch.cumsum(outputs, dim=2)


ALL_LINKS = {
    "identity": (1, lambda raw: raw),
    "logistic": (1, torch.sigmoid),
    "softmax": (1, lambda raw: F.softmax(raw, dim=1)),
    "exp": (1, torch.exp),
    "gaussian": (2, lambda raw: raw.chunk(2, dim=1)[0]),
    "laplace": (2, lambda raw: raw.chunk(2, dim=1)[0]),
    "increasing": (3, rising),
}


# Solvers: what `solver` is given, a rate that suits it, and PyTorch's optimizer.


@dataclass(frozen=True)
class Solver:
    name: str
    given: object
    rate: float
    theirs: object
    options: dict
    # Whether weights decay in PyTorch's step, and not before it.
    decays: bool = False
    # The epsilon of Adam, which scikit-learn adds to the root of the second moment before that is
    # corrected, PyTorch after.
    early_epsilon: float | None = None
    # Of SGD, whose velocity holds steps in scikit-learn and gradients in PyTorch.
    velocity_has_rate: bool = False
    flat: dict = None
    takes: object = None


class LionOfThePaper(torch.optim.Optimizer):
    """Algorithm 2 of arXiv:2302.06675."""

    def __init__(self, params, lr, betas):
        super().__init__(params, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            beta_1, beta_2 = group["betas"]
            for parameter in group["params"]:
                m = self.state[parameter].setdefault("m", torch.zeros_like(parameter))
                step = torch.sign(beta_1 * m + (1 - beta_1) * parameter.grad)
                parameter.sub_(group["lr"] * step)
                m.mul_(beta_2).add_(parameter.grad, alpha=1 - beta_2)


ALL_SOLVERS = (
    Solver(
        *("sgd", "sgd", 0.05, torch.optim.SGD, {"momentum": 0.8, "nesterov": True}),
        velocity_has_rate=True,
        flat={"momentum": 0.8},
    ),
    Solver(
        *("sgd", optimizers.SGD(0.7, False), 0.05, torch.optim.SGD, {"momentum": 0.7}),
        velocity_has_rate=True,
    ),
    Solver("sgd", optimizers.SGD(0.0, False), 0.1, torch.optim.SGD, {}, velocity_has_rate=True),
    Solver(
        *("adam", "adam", 0.02, torch.optim.AdamW, {"betas": (0.8, 0.95), "eps": 1e-3}),
        decays=True,
        early_epsilon=1e-3,
        flat={"beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3},
    ),
    Solver(
        *("adamw", optimizers.AdamW(weight_decay=0.5), 0.02, torch.optim.AdamW, {}),
        decays=True,
        early_epsilon=1e-8,
    ),
    Solver(
        *("nadam", optimizers.NAdam(0.8, momentum_decay=0.1), 0.02, torch.optim.NAdam),
        {"betas": (0.8, 0.999), "momentum_decay": 0.1, "decoupled_weight_decay": True},
        decays=True,
    ),
    Solver(
        *("amsgrad", optimizers.AMSGrad(beta_2=0.7), 0.02, torch.optim.AdamW),
        {"betas": (0.9, 0.7), "amsgrad": True},
        decays=True,
    ),
    Solver(
        *("adamax", optimizers.Adamax(beta_2=0.8), 0.02, torch.optim.Adamax),
        {"betas": (0.9, 0.8)},
    ),
    Solver("rmsprop", "rmsprop", 0.01, torch.optim.RMSprop, {}),
    Solver(
        *("rmsprop", optimizers.RMSprop(0.8, 1e-4, 0.5, True), 0.01, torch.optim.RMSprop),
        {"alpha": 0.8, "eps": 1e-4, "momentum": 0.5, "centered": True},
    ),
    Solver(
        *("adagrad", optimizers.Adagrad(0.1), 0.1, torch.optim.Adagrad),
        {"initial_accumulator_value": 0.1},
    ),
    Solver("adadelta", optimizers.Adadelta(0.8), 1.0, torch.optim.Adadelta, {"rho": 0.8}),
    Solver("lion", optimizers.Lion(), 0.005, LionOfThePaper, {"betas": (0.9, 0.99)}),
    Solver(
        *("muon", "muon", 0.02, torch.optim.Muon, {"adjust_lr_fn": "match_rms_adamw"}),
        decays=True,
        early_epsilon=1e-8,
        takes=lambda number, last: number < last,
    ),
    Solver(
        "muon",
        optimizers.Muon(0.6, False, 3, match_rms=False, first_layer=False, last_layer=True),
        *(0.02, torch.optim.Muon, {"momentum": 0.6, "nesterov": False, "ns_steps": 3}),
        decays=True,
        early_epsilon=1e-8,
        takes=lambda number, last: number > 0,
    ),
)

# None that could move: ours refuses the schedule.
WITHOUT_MOMENTUM = ("adagrad", "adadelta", "muon")


# Schedules: what the estimator is given, and PyTorch's schedule for an optimizer and a number of
# steps. It is advanced by steps, by epochs, or with the loss of each epoch.


@dataclass(frozen=True)
class Schedule:
    name: str
    options: dict
    make: object
    by: str = "step"
    moves_momentum: bool = False


def warmed_up(optimizer, steps, falling):
    """Rise from zero for three tenths of the steps, then fall."""
    first = steps * 3 // 10
    rising = lr_scheduler.LambdaLR(optimizer, lambda k: k / first)
    falling = falling(optimizer, steps - first)
    return lr_scheduler.SequentialLR(optimizer, [rising, falling], [first])


def flat_cosine(optimizer, steps):
    first = steps * 3 // 10
    parts = [
        lr_scheduler.ConstantLR(optimizer, 1.0, first),
        lr_scheduler.CosineAnnealingLR(optimizer, steps - first, eta_min=0.1 * rate_of(optimizer)),
    ]
    return lr_scheduler.SequentialLR(optimizer, parts, [first])


def rate_of(optimizer):
    return optimizer.param_groups[0]["initial_lr"]


def one_cycle(optimizer, steps, **options):
    # PyTorch's ends with the last step, ours when that is over.
    return lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=optimizer.param_groups[0]["lr"],
        total_steps=steps + 1,
        pct_start=(0.3 * steps + 1) / (steps + 1),
        div_factor=25,
        final_div_factor=1e4,
        **{"cycle_momentum": False, **options},
    )


def halved_then_slow(progress, epoch, step):
    return np.where(progress < 0.5, 1.0, 0.5) * 0.9**epoch / (1 + 0.01 * step)


def by_lambda(factor):
    return lambda optimizer, steps: lr_scheduler.LambdaLR(optimizer, lambda k: factor(k, steps))


# No epoch but the first one improves by so much.
HOPELESS = {"tol": 1e3}
ALL_SCHEDULES = (
    Schedule("constant", {}, None),
    Schedule(
        *("invscaling", {"learning_rate": "invscaling", "power_t": 0.3}),
        by_lambda(lambda e, steps: (e * N_SAMPLES + 1) ** -0.3),
        by="epoch",
    ),
    Schedule(
        *("adaptive", {"learning_rate": "adaptive", "n_iter_no_change": 2, **HOPELESS}),
        lambda optimizer, steps: lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=0.2, patience=2, threshold=1e3, threshold_mode="abs", eps=0
        ),
        by="loss",
    ),
    Schedule(
        *("plateau", {"learning_rate": schedules.Plateau(0.4, 1, 0.1), **HOPELESS}),
        lambda optimizer, steps: lr_scheduler.ReduceLROnPlateau(
            optimizer,
            factor=0.4,
            patience=1,
            threshold=1e3,
            threshold_mode="abs",
            min_lr=0.1 * optimizer.param_groups[0]["lr"],
            eps=0,
        ),
        by="loss",
    ),
    Schedule(
        *("step", {"learning_rate": schedules.Step(3, 0.5)}),
        lambda optimizer, steps: lr_scheduler.StepLR(optimizer, 3, 0.5),
        by="epoch",
    ),
    Schedule(
        *("exponential", {"learning_rate": schedules.Exponential(0.05)}),
        lambda optimizer, steps: lr_scheduler.ExponentialLR(optimizer, 0.05 ** (1 / steps)),
    ),
    Schedule(
        *("polynomial", {"learning_rate": schedules.Polynomial(2.0)}),
        lambda optimizer, steps: lr_scheduler.PolynomialLR(optimizer, steps, power=2.0),
    ),
    Schedule(
        *("polynomial", {"learning_rate": schedules.Polynomial(warmup=0.3)}),
        lambda optimizer, steps: warmed_up(optimizer, steps, lr_scheduler.PolynomialLR),
    ),
    Schedule(
        *("cosine", {"learning_rate": schedules.Cosine(warmup=0.3)}),
        lambda optimizer, steps: warmed_up(optimizer, steps, lr_scheduler.CosineAnnealingLR),
    ),
    Schedule(
        *("cosine_restarts", {"learning_rate": schedules.CosineRestarts(2, 4, 0.1)}),
        lambda optimizer, steps: lr_scheduler.CosineAnnealingWarmRestarts(
            optimizer, steps // 5, 4, eta_min=0.1 * optimizer.param_groups[0]["lr"]
        ),
    ),
    Schedule("one_cycle", {"learning_rate": "one_cycle"}, one_cycle),
    Schedule(
        *("one_cycle", {"learning_rate": schedules.OneCycle(momentum=(0.95, 0.7))}),
        lambda optimizer, steps: one_cycle(
            optimizer, steps, cycle_momentum=True, max_momentum=0.95, base_momentum=0.7
        ),
        moves_momentum=True,
    ),
    Schedule("flat_cos", {"learning_rate": schedules.FlatCos(0.3, 0.1)}, flat_cosine),
    Schedule(
        *("coslog4", {"learning_rate": "coslog4"}),
        by_lambda(lambda k, steps: (1 - math.cos(2 * math.pi * math.log2(1 + 15 * k / steps))) / 2),
    ),
    Schedule(
        *("inverse_sqrt", {"learning_rate": schedules.InverseSqrt(0.3)}),
        by_lambda(lambda k, n: k / n / 0.3 if k < 0.3 * n else math.sqrt(0.3 * n / k)),
    ),
    Schedule(
        *("function", {"learning_rate": halved_then_slow}),
        by_lambda(
            lambda k, n: (1.0 if 2 * k < n else 0.5) * 0.9 ** (k * EPOCHS // n) / (1 + 0.01 * k)
        ),
    ),
)

# All else, as the estimators' parameters.
ALPHA = {"alpha": 0.8}
ALL_REST = {
    "no penalty": {"alpha": 0.0},
    "l2": ALPHA,
    "elastic_net": {**ALPHA, "l1_ratio": 0.3},
    "l1": {**ALPHA, "l1_ratio": 1.0},
    "weight_decay": {"weight_decay": 1.5},
    "scheduled decay": {**ALPHA, "weight_decay": 1.5, "weight_decay_schedule": "cosine"},
    "clip_norm": {**ALPHA, "clip_norm": 0.1},
    "clip_value": {**ALPHA, "clip_value": 0.01},
    "both clipped": {**ALPHA, "clip_norm": 0.1, "clip_value": 0.03},
    "max_norm": {**ALPHA, "max_norm": 0.9},
    "ema_decay": {**ALPHA, "ema_decay": 0.7},
    "connectivity": {**ALPHA, "connectivity": "drawn"},
    "frozen_layers": {**ALPHA, "frozen_layers": 1},
    "several": {
        **{"alpha": 0.3, "l1_ratio": 0.5, "weight_decay": 0.5, "clip_norm": 0.2},
        **{"max_norm": 1.2, "ema_decay": 0.5, "connectivity": "drawn"},
    },
}


@dataclass(frozen=True)
class Case:
    solver: Solver
    schedule: Schedule
    rest: str
    loss: Loss
    activations: tuple[str, str]
    normalization: tuple[str | None, str | None]
    batch_size: int
    weighted: bool
    seed: int

    def __str__(self):
        return "-".join(
            (
                *(str(self.seed), self.solver.name, self.schedule.name, self.rest),
                *(f"{self.loss.name}.{self.loss.link}", *self.activations),
            )
        )


def dealt(values, count, rng):
    """Draw values in such a way that all of them occur about equally often."""
    values = list(values)
    rounds = [rng.permutation(len(values)) for _ in range(-(-count // len(values)))]
    return [values[i] for i in np.concatenate(rounds)[:count]]


def refuses(solver, schedule):
    return schedule.moves_momentum and solver.name in WITHOUT_MOMENTUM


def drawn_cases():
    """All pairs of solver, schedule and what is in `ALL_REST`; all else is dealt to them."""
    rng = np.random.default_rng(0)
    covered = [
        (solver, ALL_SCHEDULES[0] if refuses(solver, schedule) else schedule, rest)
        for solver, schedule, rest in covering(ALL_SOLVERS, ALL_SCHEDULES, tuple(ALL_REST))
    ]
    count = len(covered)
    kinds = [(None, None), ("layer", None), ("batch", None), ("batch", "layer"), ("layer", "batch")]
    # Batch normalization of weighted samples is nothing that PyTorch has.
    settings = [
        (kind, batch_size, weighted)
        for kind in kinds
        for batch_size in (N_SAMPLES, 16)
        for weighted in (False, True)
        if not (weighted and "batch" in kind)
    ]
    return [
        Case(*of_case, loss, pair, *setting, seed)
        for seed, (of_case, loss, pair, setting) in enumerate(
            zip(
                covered,
                dealt(ALL_LOSSES, count, rng),
                zip(
                    dealt(ALL_ACTIVATIONS, count, rng),
                    dealt(ALL_ACTIVATIONS, count, rng),
                    strict=True,
                ),
                dealt(settings, count, rng),
                strict=True,
            )
        )
    ]


CASES = drawn_cases()


# What both are given.


@dataclass(frozen=True)
class Start:
    X: np.ndarray
    y: np.ndarray
    sample_weight: np.ndarray | None
    coefs: list
    intercepts: list
    masks: list


def start_of(case):
    rng = np.random.default_rng(case.seed)
    X = rng.normal(size=(N_SAMPLES, N_FEATURES))
    signal = X @ rng.normal(size=(N_FEATURES, 3)) + 0.3 * rng.normal(size=(N_SAMPLES, 3))
    y = {
        "classes": signal.argmax(axis=1),
        "binary": (signal[:, 0] > 0).astype(int),
        "labels": (signal[:, :2] > 0).astype(int),
        "real": signal[:, :2],
        "amounts": rng.poisson(np.exp(0.3 * signal[:, :2])).astype(float),
        "positive": np.exp(0.5 * signal[:, :2]),
    }[case.loss.targets]
    weight = rng.uniform(0.5, 2.0, size=N_SAMPLES) if case.weighted else None
    n_outputs = {"classes": 3, "binary": 1}.get(case.loss.targets, 2) * ALL_LINKS[case.loss.link][0]
    units = (N_FEATURES, *HIDDEN, n_outputs)
    pieces = (*(ALL_ACTIVATIONS[name].pieces for name in case.activations), 1)
    coefs, intercepts, masks = [], [], []
    for fan_in, fan_out, n_pieces in zip(units, units[1:], pieces, strict=False):
        shape = (fan_in, n_pieces * fan_out)
        coefs.append(rng.normal(size=shape) / np.sqrt(fan_in))
        intercepts.append(0.2 * rng.normal(size=shape[1]))
        masks.append(rng.uniform(size=(fan_in, fan_out)) < 0.7)
    return Start(X, y, weight, coefs, intercepts, masks)


def stays_constant(case):
    """Whether the rate does: in scikit-learn these schedules are for SGD."""
    return case.schedule.name in ("invscaling", "adaptive") and case.solver.name != "sgd"


def fitted(case, start):
    """Return our model."""
    rest, schedule = dict(ALL_REST[case.rest]), case.schedule.options
    if stays_constant(case):
        schedule = {"learning_rate": case.schedule.name}
    if isinstance(case.solver.given, optimizers.AdamW):  # which has one of its own
        rest.pop("weight_decay", None)
    if "connectivity" in rest:
        rest["connectivity"] = tuple(start.masks)
    is_classifier = case.loss.targets in ("classes", "binary", "labels")
    model = (MLPClassifier if is_classifier else MLPRegressor)(
        hidden_layer_sizes=HIDDEN,
        activation=tuple(ALL_ACTIVATIONS[name].given for name in case.activations),
        solver=case.solver.given,
        learning_rate_init=case.solver.rate,
        init=(start.coefs, start.intercepts),
        normalization=case.normalization,
        batch_size=case.batch_size,
        shuffle=False,
        max_iter=EPOCHS,
        random_state=0,
        **{"n_iter_no_change": 1000, "tol": 0.0, **schedule},
        **{**case.loss.options, **(case.solver.flat or {}), **rest},
    )
    return model.fit(start.X, start.y, start.sample_weight)


def predicted(model, start):
    if hasattr(model, "predict_proba"):
        return model.predict_proba(start.X)
    return getattr(model, "decision_function", model.predict)(start.X)


# The other side.


class Network(torch.nn.Module):
    """Layers of products, normalizations and activations with what these learn."""

    def __init__(self, case, start):
        super().__init__()
        self.functions = [ALL_ACTIVATIONS[name].function for name in case.activations]
        self.products = torch.nn.ModuleList()
        self.normalizations = torch.nn.ModuleList()
        self.learned = torch.nn.ParameterList()
        for coef, intercept in zip(start.coefs, start.intercepts, strict=True):
            layer = torch.nn.Linear(*coef.shape)
            layer.weight.data, layer.bias.data = torch.tensor(coef.T), torch.tensor(intercept)
            self.products.append(layer)
        makers = {
            None: torch.nn.Identity,
            "layer": torch.nn.LayerNorm,
            "batch": torch.nn.BatchNorm1d,
        }
        for kind, layer, name in zip(
            case.normalization, self.products, case.activations, strict=False
        ):
            self.normalizations.append(makers[kind](layer.out_features))
            begin = ALL_ACTIVATIONS[name].start
            size = 0 if begin is None else layer.out_features
            self.learned.append(torch.full((size,), begin or 0.0))

    def forward(self, X):
        values = X
        layers = zip(self.functions, self.products, self.normalizations, self.learned, strict=False)
        for function, product, normalization, learned in layers:
            z = normalization(product(values))
            values = function(z, learned) if learned.numel() else function(z)
        return self.products[-1](values)

    def parts(self, number):
        """Return what a hidden layer learns besides weights."""
        own = [self.learned[number]] if self.learned[number].numel() else []
        return [*own, *self.normalizations[number].parameters()]

    def freeze(self, count):
        """Leave the first layers as they are."""
        for number in range(count):
            for parameter in (*self.products[number].parameters(), *self.parts(number)):
                parameter.requires_grad_(False)
            self.normalizations[number].eval()

    def weights(self):
        return [product.weight for product in self.products]

    def extras(self):
        """Return what ours has behind coefficients and intercepts."""
        numbers = range(len(self.functions))
        trained = [part for number in numbers for part in self.parts(number)]
        batched = [n for n in self.normalizations if isinstance(n, torch.nn.BatchNorm1d)]
        return [*trained, *(part for n in batched for part in (n.running_mean, n.running_var))]


class Training:
    """What PyTorch does in the steps of a case."""

    def __init__(self, case, start):
        self.case, self.options = case, ALL_REST[case.rest]
        self.network = Network(case, start)
        self.network.freeze(self.options.get("frozen_layers", 0))
        self.masks = None
        if "connectivity" in self.options:
            # All pieces of a unit have its connections.
            self.masks = [
                torch.tensor(np.tile(mask, coef.shape[1] // mask.shape[1]).T)
                for mask, coef in zip(start.masks, start.coefs, strict=True)
            ]
        self.project()
        self.optimizers = list(self.make_optimizers())
        # The schedule moves the numbers of an optimizer that has nothing to move.
        self.clock = torch.optim.SGD([torch.zeros(1)], lr=case.solver.rate, momentum=0.9)
        self.n_batches = -(-N_SAMPLES // case.batch_size)
        self.schedule = None
        if case.schedule.make is not None and not stays_constant(case):
            self.schedule = case.schedule.make(self.clock, EPOCHS * self.n_batches)
        self.decay = self.options.get("weight_decay", 0.0)
        if isinstance(case.solver.given, optimizers.AdamW):
            self.decay = case.solver.given.weight_decay
        self.step_number = 0
        self.averaged = None
        if "ema_decay" in self.options:
            self.averaged = torch.optim.swa_utils.AveragedModel(
                self.network, avg_fn=corrected_average(self.options["ema_decay"])
            )

    def make_optimizers(self):
        solver, products = self.case.solver, self.network.products
        weights = [w for w in self.network.weights() if w.requires_grad]
        others = [product.bias for product in products]
        for number in range(len(HIDDEN)):
            others += self.network.parts(number)
        others = [parameter for parameter in others if parameter.requires_grad]
        if solver.takes is not None:
            last = len(products) - 1
            numbered = [(n, w) for n, w in enumerate(self.network.weights()) if w.requires_grad]
            whole = [w for n, w in numbered if solver.takes(n, last)]
            yield solver.theirs(
                [{"params": whole, "decays": True}], lr=1.0, weight_decay=0.0, **solver.options
            )
            weights = [w for n, w in numbered if not solver.takes(n, last)]
        groups = [{"params": weights, "decays": True}, {"params": others, "decays": False}]
        groups = [group for group in groups if group["params"]]
        if solver.takes is not None:
            yield torch.optim.AdamW(groups, lr=1.0, weight_decay=0.0)
        else:
            yield solver.theirs(groups, lr=1.0, **solver.options)

    @torch.no_grad()
    def project(self):
        """Move weights to where they may be."""
        for number, weight in enumerate(self.network.weights()):
            if self.masks is not None:
                weight *= self.masks[number]
            if "max_norm" in self.options and weight.requires_grad:
                norms = torch.linalg.vector_norm(weight, dim=1, keepdim=True)
                weight *= torch.clamp(self.options["max_norm"] / norms, max=1.0)

    def loss(self, X, y, sample_weight):
        samples = self.case.loss.function(self.network(X), y)
        alpha, l1_ratio = self.options.get("alpha", 1e-4), self.options.get("l1_ratio", 0.0)
        weights = torch.cat([weight.flatten() for weight in self.network.weights()])
        penalty = l1_ratio * weights.abs().sum() + (1 - l1_ratio) * (weights**2).sum() / 2
        return ((sample_weight * samples).sum() + alpha * penalty) / sample_weight.sum()

    def clip(self):
        parameters = [p for p in self.network.parameters() if p.grad is not None]
        if self.masks is not None:
            for weight, mask in zip(self.network.weights(), self.masks, strict=True):
                if weight.grad is not None:
                    weight.grad *= mask
        if "clip_value" in self.options:
            torch.nn.utils.clip_grad_value_(parameters, self.options["clip_value"])
        if "clip_norm" in self.options:
            norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
            # PyTorch adds so much to the norm by which it divides.
            torch.nn.utils.clip_grads_with_norm_(parameters, self.options["clip_norm"], norm - 1e-6)

    def set_numbers(self, optimizer):
        """Give an optimizer the numbers of this step."""
        case, rate = self.case, self.clock.param_groups[0]["lr"]
        decay = self.decay
        if "weight_decay_schedule" in self.options:
            done = (self.step_number - 1) / (EPOCHS * self.n_batches)
            decay *= (1 + math.cos(math.pi * done)) / 2
        for group in optimizer.param_groups:
            own_decay = decay if group["decays"] else 0.0
            group["lr"] = rate
            if case.schedule.moves_momentum:
                set_momentum(group, self.clock.param_groups[0]["momentum"])
            if case.solver.decays:
                group["weight_decay"] = own_decay
            else:
                with torch.no_grad():
                    for parameter in group["params"]:
                        parameter.mul_(1 - rate * own_decay)
            if case.solver.early_epsilon is not None and "betas" in group:
                corrected = math.sqrt(1 - group["betas"][1] ** self.step_number)
                group["eps"] = case.solver.early_epsilon / corrected
            if case.solver.velocity_has_rate:
                group["lr"] = 1.0
                for parameter in group["params"]:
                    parameter.grad *= rate

    def step(self, *batch):
        """Make a step, and return the loss before it."""
        self.step_number += 1
        self.network.zero_grad()
        loss = self.loss(*batch)
        loss.backward()
        self.clip()
        for optimizer in self.optimizers:
            self.set_numbers(optimizer)
            optimizer.step()
        self.project()
        if self.averaged is not None:
            self.averaged.update_parameters(self.network)
        self.advance("step")
        return loss.item()

    def advance(self, event, *loss):
        if self.schedule is not None and self.case.schedule.by == event:
            self.clock.step()
            self.schedule.step(*loss)

    def run(self, start):
        """Return the loss of each epoch."""
        X, y = torch.tensor(start.X), torch.tensor(start.y)
        if self.case.loss.targets != "classes":
            y = y.to(X.dtype).reshape(N_SAMPLES, -1)
        weight = np.ones(N_SAMPLES) if start.sample_weight is None else start.sample_weight
        parts = torch.split(torch.arange(N_SAMPLES), self.case.batch_size)
        curve = []
        for _ in range(EPOCHS):
            batches = [(X[rows], y[rows], torch.tensor(weight)[rows]) for rows in parts]
            values = [self.step(*batch) for batch in batches]
            curve.append(np.average(values, weights=[len(rows) for rows in parts]))
            self.advance("epoch")
            self.advance("loss", curve[-1])
        return curve

    def result(self):
        return self.network if self.averaged is None else self.averaged.module

    @torch.no_grad()
    def outputs(self, start):
        network = self.result().eval()
        outputs = ALL_LINKS[self.case.loss.link][1](network(torch.tensor(start.X))).numpy()
        if self.case.loss.targets == "binary" and self.case.loss.link == "logistic":
            return np.hstack([1 - outputs, outputs])
        return outputs


def set_momentum(group, momentum):
    """Do as PyTorch's schedules do that move the momentum."""
    if "betas" in group:
        group["betas"] = momentum, *group["betas"][1:]
    else:
        group["momentum"] = momentum


def corrected_average(decay):
    """Return an average whose first entry has no larger share than it should have."""

    def average(before, value, count):
        return before + (value - before) * (1 - decay) / (1 - decay ** (count + 1))

    return average


@pytest.fixture
def no_rounding(monkeypatch):
    """Let PyTorch compute in double precision all that it makes itself, and Muon too."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more would wait for each other
    yield
    torch.set_num_threads(threads)
    torch.set_default_dtype(before)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.usefixtures("no_rounding")
def test_fits_are_those_of_pytorch(case):
    start = start_of(case)
    model, training = fitted(case, start), Training(case, start)
    curve = training.run(start)
    assert_is_of(model, case)
    assert np.isfinite(curve).all()
    assert_allclose(model.loss_curve_, curve, rtol=1e-10)
    network = training.result()
    with torch.no_grad():
        trained = as_trained(model)
        for own, product in zip(trained.coefs, network.products, strict=True):
            assert_allclose(own, product.weight.numpy().T, **CLOSE)
        for number, own in enumerate(trained.intercepts):
            if "intercept" not in drifting(case, number):
                assert_allclose(own, network.products[number].bias.numpy(), **CLOSE)
        extras = layout_of(trained.network).extras
        parts = np.split(trained.extras, np.cumsum([extra.size for extra in extras]))
        for extra, own, theirs in zip(extras, parts, network.extras(), strict=False):
            if extra.name not in drifting(case, extra.layer):
                assert_allclose(own, theirs.numpy(), **CLOSE)
    assert len(extras) == len(network.extras())
    if not any(drifting(case, number) for number in range(len(HIDDEN))):
        assert_allclose(predicted(model, start), training.outputs(start), **CLOSE)


def drifting(case, number):
    """Return what of a layer rounding alone moves.

    What is added before batch normalization has no effect, and no gradient but rounding errors, of
    which solvers that divide by its size make steps. Means of batches follow, some steps behind.
    """
    kinds = (*case.normalization, None, None)
    if case.solver.name == "sgd" or number >= len(case.activations):
        return set()
    goes_on = is_straight(case.activations[number]) and kinds[number + 1] == "batch"
    of_own = {"intercept", "mean"} if kinds[number] == "batch" else set()
    return of_own | ({"intercept", "shift"} if goes_on else set())


def is_straight(activation):
    """Whether a line is all that units make of pre-activations, which are never far from zero."""
    return activation.removeprefix("blend_") in ("identity", "hard_sigmoid")


CLOSE = {"rtol": 1e-9, "atol": 1e-10}


def assert_is_of(model, case):
    """The model has the entries of the registries that the case says."""
    network = as_trained(model).network
    assert tuple(layer.activation.name for layer in network.layers) == case.activations
    assert tuple(layer.normalization for layer in network.layers) == case.normalization
    (head,) = network.heads
    assert (head.loss.name, head.link) == (case.loss.name, case.loss.link)


# What has no part in it.

REGISTRIES = {
    "activation": {*ACTIVATIONS, *BLENDS},
    "loss": set(LOSSES),
    "output activation": set(LINKS),
    "penalty": set(PENALTIES),
    "solver": set(OPTIMIZERS),
    "schedule": {*SCHEDULES, FUNCTION},
    "normalization": set(NORMALIZATIONS),
    "init": set(INITIALIZERS),
}
NOT_COMPARED = {
    ("activation", "exp"): "for outputs only, where losses have it",
    **{
        ("init", name): "draws, of which only distributions could agree; both start with arrays"
        for name in INITIALIZERS
    },
}


def schedule_of(schedule):
    """Return the name of what `learning_rate` is."""
    return name_of(schedule.options.get("learning_rate", "constant")) or FUNCTION


def entries_of(case):
    """Yield the entries of registries that have a part in a case."""
    rest = ALL_REST[case.rest]
    yield from (("activation", name) for name in case.activations)
    yield "loss", (case.loss.name, case.loss.link)
    yield "output activation", case.loss.link
    yield "penalty", "elastic_net" if "l1_ratio" in rest else "l2"
    yield "solver", name_of(case.solver.given)
    yield "schedule", schedule_of(case.schedule)
    yield from (("normalization", kind) for kind in case.normalization if kind is not None)


def test_every_entry_is_compared_or_said_not_to_be():
    compared = {entry for case in CASES for entry in entries_of(case)}
    known = {(kind, name) for kind, names in REGISTRIES.items() for name in names}
    assert compared | set(NOT_COMPARED) == known
    assert not compared & set(NOT_COMPARED)
    # What decides on conventions here are names.
    assert all(name_of(solver.given) == solver.name for solver in ALL_SOLVERS)
    assert all(schedule_of(schedule) == schedule.name for schedule in ALL_SCHEDULES)
