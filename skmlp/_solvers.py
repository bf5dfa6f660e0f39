"""What the parameters say about the optimizer and its schedule: the one place that reads them.

`solver` and `learning_rate` are names or objects, `learning_rate` may be a function too.
"""

from typing import Any

from skmlp import optimizers, schedules
from skmlp._choices import same, text_of
from skmlp._formulas import formula_of
from skmlp._warning import Remark
from skmlp.network.optimizers import OPTIMIZERS
from skmlp.network.specs import OptimizerSpec
from skmlp.training.schedules import FUNCTION, SCHEDULES, Schedule

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
    decay, clip_norm = estimator.weight_decay, estimator.clip_norm
    ema_decay = estimator.ema_decay
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
        None if clip_norm is None else float(clip_norm),
        None if ema_decay is None else float(ema_decay),
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


def schedule_of(estimator: Any) -> Schedule:
    """Return what the parameters say about the learning rate."""
    rate, power = float(estimator.learning_rate_init), float(estimator.power_t)
    schedule = estimator.learning_rate
    if isinstance(schedule, schedules.Schedule):
        formula = formula_of(schedule, SCHEDULES[schedule._name].constants)
        return Schedule(formula.name, rate, power, formula.constants)
    if not isinstance(schedule, str):
        return Schedule(FUNCTION, rate, power, (), schedule)
    entry = SCHEDULES[schedule]
    if entry.for_sgd_only and solver_name(estimator.solver) != "sgd":
        entry = SCHEDULES["constant"]
    return Schedule(entry.name, rate, power, tuple(c.default for c in entry.constants))


def check_known_length(estimator: Any) -> None:
    """Refuse a schedule over all steps where nobody knows how many there will be.

    Raises
    ------
    ValueError
        If the schedule gives a rate to each step, in `partial_fit`.
    """
    if schedule_of(estimator).changes_every_step:
        schedule = text_of(estimator.learning_rate)
        raise ValueError(
            f"learning_rate={schedule} depends on how many steps there will be, which partial_fit "
            "does not know. Use fit, or learning_rate='constant' and set learning_rate_init "
            "before each partial_fit."
        )


def solver_remarks(estimator: Any) -> list[Remark]:
    """Return what to warn of: a schedule that scikit-learn does not have, beside L-BFGS."""
    if not schedule_of(estimator).changes_every_step:
        return []
    ignored = f"learning_rate={text_of(estimator.learning_rate)}"
    return [
        Remark(
            f"{ignored} has no effect with solver='lbfgs'. Use any solver but 'lbfgs', or leave "
            "learning_rate out.",
            UserWarning,
        )
    ]
