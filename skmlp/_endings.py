"""How a fit ended, in words: the error of one that came to nothing, the warnings of another."""

from typing import Any

from sklearn.exceptions import ConvergenceWarning

from skmlp._solvers import uses_lbfgs
from skmlp._warning import Remark
from skmlp.training.loop import Trainer
from skmlp.training.stopping import StopReason

# How messages name a solver's failure; scikit-learn's users search for the first sentence.
DIVERGED = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed."
)
OVERFLOWED = (
    "Solver produced parameter weights whose predictions are not finite. The input data may "
    "contain large values and need to be preprocessed."
)


def remedy(estimator: Any) -> str:
    """Return what to do about a fit that diverged."""
    scale = "scale X and y, for instance with StandardScaler"
    if uses_lbfgs(estimator):
        return f"{scale}, or increase alpha={estimator.alpha}."
    return f"lower learning_rate_init={estimator.learning_rate_init}, or {scale}."


def stochastic_remarks(estimator: Any, trainer: Trainer, *, incremental: bool) -> list[Remark]:
    """Return what to warn of after the epoch loop.

    Raises
    ------
    ValueError
        If the fit diverged and kept no weights of a better time.
    """
    remarks = [interrupted_remark(trainer.n_epochs)] if trainer.interrupted else []
    if trainer.stop_reason is StopReason.DIVERGED:
        diverged = f"The fit diverged in epoch {trainer.n_epochs}: {remedy(estimator)}"
        if trainer.best is None:
            raise ValueError(f"{DIVERGED} {diverged}")
        measure = "best validation score" if estimator.early_stopping else "lowest loss"
        kept = (
            f"The weights with the {measure} so far ({trainer.best.value:.4g}) are kept; "
            f"loss_={trainer.history.losses[-1]:.4g} is that of the last epoch."
        )
        remarks.append(Remark(f"{diverged} {kept}", ConvergenceWarning))
    elif trainer.stop_reason is StopReason.MAX_ITER and not incremental:
        reached = (
            f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and the "
            "optimization hasn't converged yet. Increase max_iter, or learning_rate_init."
        )
        remarks.append(Remark(reached, ConvergenceWarning))
    elif trainer.stop_reason is StopReason.MAX_TIME and not incremental:
        remarks.append(time_remark(estimator, trainer.n_epochs))
    return remarks


def time_remark(estimator: Any, n_iter: int) -> Remark:
    """Return what to warn of where `max_time` has ended a fit."""
    message = (
        f"max_time={estimator.max_time} ended the fit after {n_iter} iteration(s), before it has "
        "converged. Increase max_time to go on."
    )
    return Remark(message, ConvergenceWarning)


def lbfgs_remarks(result: Any, max_iter: int) -> list[Remark]:
    """Return what to warn of, as scikit-learn words it, if SciPy's minimizer did not succeed."""
    if result.status == 0:
        return []
    n_iter = min(result.nit, max_iter)
    message = (
        f"lbfgs failed to converge after {n_iter} iteration(s) (status={result.status}):\n"
        f"{result.message}\n"
    )
    if n_iter == max_iter:
        message += (
            f"\nIncrease the number of iterations to improve the convergence (max_iter={max_iter})."
        )
    message += (
        "\nYou might also want to scale the data as shown in:\n"
        "    https://scikit-learn.org/stable/modules/preprocessing.html"
    )
    return [Remark(message, ConvergenceWarning)]


def interrupted_remark(n_iter: int) -> Remark:
    """Return what to warn of after Ctrl-C."""
    if n_iter == 0:
        message = "Training interrupted by user before an iteration ended: the loss is not known."
        return Remark(message, UserWarning)
    return Remark("Training interrupted by user.", UserWarning)
