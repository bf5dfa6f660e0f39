"""What the parameters say about the optimizer and its schedules: the one place that reads them.

`solver` and the schedules are names or objects, a schedule may be a function too.
"""

from typing import Any

from skmlp import optimizers, schedules
from skmlp._choices import same, text_of
from skmlp._formulas import formula_of
from skmlp._groups import factors_in
from skmlp._warning import Remark
from skmlp.network.optimizers import OPTIMIZERS
from skmlp.network.specs import L2, Formula, NetworkSpec, OptimizerSpec
from skmlp.training.schedules import (
    FUNCTION,
    MULTIPLIED,
    SCHEDULES,
    Factors,
    Schedule,
    count_arguments,
)

STOCHASTIC_SOLVERS = set(OPTIMIZERS)
NO_DECAY = 0.0


def solver_name(solver: Any) -> Any:
    """Return the name of what `solver` is; of something else, that itself."""
    return solver._name if isinstance(solver, optimizers.Optimizer) else solver


def uses_lbfgs(estimator: Any) -> bool:
    """Whether the solver is L-BFGS."""
    return isinstance(estimator.solver, str) and estimator.solver == "lbfgs"


def is_stochastic(estimator: Any) -> bool:
    """Whether the solver is one of the stochastic optimizers."""
    name = solver_name(estimator.solver)
    return isinstance(name, str) and name in STOCHASTIC_SOLVERS


def optimizer_spec(estimator: Any) -> OptimizerSpec | None:
    """Return what the parameters say about a stochastic optimizer; None for L-BFGS."""
    if uses_lbfgs(estimator):
        return None
    solver, name = estimator.solver, solver_name(estimator.solver)
    entry = OPTIMIZERS[name]
    decay, l1_ratio = estimator.weight_decay, float(estimator.l1_ratio)
    ema_decay = estimator.ema_decay
    limits = {
        name: None if limit is None else float(limit)
        for name in ("clip_norm", "clip_value", "max_norm")
        for limit in [getattr(estimator, name)]
    }
    if isinstance(solver, optimizers.Optimizer):
        values = list(formula_of(solver, entry.settings).constants)
        decay = getattr(solver, "weight_decay", decay)
    else:
        values = [
            getattr(estimator, setting.name) if setting.name in entry.binds else setting.default
            for setting in entry.settings
        ]
    return OptimizerSpec(
        name,
        tuple(map(float, values)),
        float(decay),
        penalty=Formula("elastic_net", (l1_ratio,)) if l1_ratio > 0.0 else L2,
        frozen_layers=int(estimator.frozen_layers),
        ema_decay=None if ema_decay is None else float(ema_decay),
        rate_factors=factors_in(estimator.learning_rate_factors, "rate"),
        decay_factors=factors_in(estimator.weight_decay_factors, "decay"),
        parametrization=str(estimator.parametrization),
        **limits,
    )


def check_solver_parameters(estimator: Any) -> None:
    """Refuse a parameter of the estimator beside an object that has one of the same name.

    Raises
    ------
    ValueError
        If such a parameter differs from its default.
    """
    solver = estimator.solver
    if not isinstance(solver, optimizers.Optimizer):
        return
    entry = OPTIMIZERS[solver._name]
    defaults = {setting.name: setting.default for setting in entry.settings}
    for name in entry.binds:
        default = defaults.get(name, NO_DECAY)
        value = getattr(estimator, name)
        if not same(value, default):
            raise ValueError(
                f"solver={solver!r} has a {name} of its own, but {name}={value!r} is given beside "
                f"it. Set solver__{name}, and leave {name} at its default, or use "
                f"solver={solver._name!r}."
            )


def parts_of_schedule(parameter: str, schedule: Any) -> tuple[str, tuple[float, ...], Any]:
    """Return the name of what a schedule is, its constants and its function, if it is one.

    Raises
    ------
    ValueError
        If a function cannot be called with what it would be given.
    """
    if isinstance(schedule, str | schedules.Schedule):
        name = schedule if isinstance(schedule, str) else schedule._name
        return name, formula_of(schedule, SCHEDULES[name].constants).constants, None
    count_arguments(parameter, schedule)
    return FUNCTION, (), schedule


def schedule_of(estimator: Any) -> Schedule:
    """Return what the parameters say about the learning rate."""
    name, constants, function = parts_of_schedule("learning_rate", estimator.learning_rate)
    if name != FUNCTION and SCHEDULES[name].for_sgd_only:
        name = name if solver_name(estimator.solver) == "sgd" else "constant"
    rate, power = float(estimator.learning_rate_init), float(estimator.power_t)
    return Schedule(name, rate, power, constants, function, momenta_of(estimator.learning_rate))


def moves_momentum(schedule: Any) -> bool:
    """Whether a schedule moves the momentum as well."""
    is_object = isinstance(schedule, schedules.Schedule)
    return is_object and getattr(schedule, "momentum", None) is not None


def momenta_of(schedule: Any) -> tuple[float, float] | None:
    """Return the first and the lowest momentum of a schedule that moves it."""
    if not moves_momentum(schedule):
        return None
    first, lowest = schedule.momentum
    return float(first), float(lowest)


def check_momenta(estimator: Any) -> None:
    """Refuse a schedule that moves a momentum where there is none.

    Raises
    ------
    ValueError
        If the solver has none, or the schedule is that of something else than the learning rate.
    """
    for parameter in MULTIPLIED:
        schedule = getattr(estimator, parameter)
        if not (moves_momentum(schedule) and is_stochastic(estimator)):
            continue
        if parameter != "learning_rate":
            raise ValueError(
                f"{parameter}={schedule!r} cannot move the momentum, which learning_rate does. "
                f"Set {parameter}__momentum=None."
            )
        if OPTIMIZERS[solver_name(estimator.solver)].momentum is None:
            able = ", ".join(repr(entry.name) for entry in OPTIMIZERS.values() if entry.momentum)
            raise ValueError(
                f"learning_rate={schedule!r} moves the momentum, but solver={estimator.solver!r} "
                f"has none that can move. Set learning_rate__momentum=None, or use one of {able}."
            )


def factors_of(
    estimator: Any, network: NetworkSpec, optimizer: OptimizerSpec
) -> dict[str, Factors | None]:
    """Return how weight decay and dropout change, for a `Trainer`; None where there is none."""
    shares = [network.inputs.dropout, *(layer.dropout for layer in network.layers)]
    decay = other_schedule(estimator, "weight_decay_schedule")
    dropout = other_schedule(estimator, "dropout_schedule", max(shares))
    return {
        "decay_factors": decay if optimizer.weight_decay > 0.0 else None,
        "dropout_factors": dropout if any(shares) else None,
    }


def other_schedules(estimator: Any, network: NetworkSpec, optimizer: OptimizerSpec) -> list[str]:
    """Return the parameters that make something else than the learning rate change."""
    factors = factors_of(estimator, network, optimizer).values()
    moved = ["momentum of learning_rate"] * moves_momentum(estimator.learning_rate)
    return [factor.parameter for factor in factors if factor is not None] + moved


def other_schedule(estimator: Any, parameter: str, largest: float = 0.0) -> Factors | None:
    """Return the schedule of something else than the learning rate; None where there is none."""
    value = getattr(estimator, parameter)
    if value is None:
        return None
    return Factors(parameter, *parts_of_schedule(parameter, value), largest)


def check_known_length(estimator: Any) -> None:
    """Refuse schedules over all steps where nobody knows how many there will be.

    Raises
    ------
    ValueError
        If a schedule gives a factor to each step, in `partial_fit`.
    """
    without = {parameter: None for parameter in MULTIPLIED} | {"learning_rate": "constant"}
    for parameter, multiplied in MULTIPLIED.items():
        value = getattr(estimator, parameter)
        if parameter == "learning_rate" and not schedule_of(estimator).changes_every_step:
            continue
        if value is not None:
            raise ValueError(
                f"{parameter}={text_of(value)} depends on how many steps there will be, which "
                f"partial_fit does not know. Use fit, or {parameter}={without[parameter]!r} and "
                f"set {multiplied} before each partial_fit."
            )


def solver_remarks(estimator: Any) -> list[Remark]:
    """Return what to warn of: a schedule that scikit-learn does not have, beside L-BFGS."""
    schedule = schedule_of(estimator)
    if not (schedule.changes_every_step or schedule.name == "plateau"):
        return []
    ignored = f"learning_rate={text_of(estimator.learning_rate)}"
    return [
        Remark(
            f"{ignored} has no effect with solver='lbfgs'. Use any solver but 'lbfgs', or leave "
            "learning_rate out.",
            UserWarning,
        )
    ]


def schedule_remarks(
    estimator: Any, schedule: Schedule, factors: dict[str, Factors | None]
) -> list[Remark]:
    """Return what to warn of: schedules beside a stochastic solver that change nothing."""
    messages = []
    for parameter, own in (
        ("dropout_schedule", factors["dropout_factors"]),
        ("weight_decay_schedule", factors["decay_factors"]),
    ):
        value = getattr(estimator, parameter)
        if value is not None and own is None:
            messages.append(
                f"{parameter}={text_of(value)} has no effect without {MULTIPLIED[parameter]}. Set "
                f"{MULTIPLIED[parameter]}, or leave {parameter} out."
            )
    patience = estimator.n_iter_no_change
    if schedule.name == "plateau" and schedule.constants[1] >= patience:
        messages.append(
            f"learning_rate={text_of(estimator.learning_rate)} has no effect with "
            f"n_iter_no_change={patience}: the fit ends before the rate falls. Use a larger "
            "n_iter_no_change, or a Plateau of less patience."
        )
    return [Remark(message, UserWarning) for message in messages]
