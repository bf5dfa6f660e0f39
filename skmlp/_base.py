"""What the classifier and the regressor share: fitting, resuming and prediction."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils.metaestimators import available_if

from skmlp._choices import check_choices
from skmlp._constraints import (
    bounds_of,
    check_frozen_layers,
    constrain,
    draws_connections,
    named_constraints,
    with_constrained_averages,
    with_frozen,
)
from skmlp._drafts import draft_of, take_over
from skmlp._embedding import check_dense, check_input
from skmlp._endings import (
    DIVERGED,
    OVERFLOWED,
    interrupted_remark,
    lbfgs_remarks,
    remedy,
    stochastic_remarks,
    time_remark,
)
from skmlp._engine import (
    choose_for_fit,
    choose_for_prediction,
    compilation_announced,
    fit_flops,
    make_engine,
    prediction_flops,
)
from skmlp._ensembles import Averaging, check_bagging, check_combination, fit_members
from skmlp._fitted import (
    check_outputs,
    check_prediction,
    is_ensemble,
    trained_network,
)
from skmlp._groups import check_counts_of_factors, factor_remarks
from skmlp._held_out import (
    Data,
    Given,
    HeldOut,
    Samples,
    Targets,
    Watched,
    Watching,
    loss_of,
    outputs_of,
)
from skmlp._hooks import Calls, CallsOfSeveral, WithCallbacks
from skmlp._initial import holds_weights
from skmlp._inside import Inside
from skmlp._members import OF_SEVERAL, WithMembers, check_members_resumable, members_of
from skmlp._neighbors import ToSklearn, own_state
from skmlp._networks import (
    CustomChoice,
    attributes_of,
    custom_choices,
    describe_network,
    register_custom,
)
from skmlp._onnx import InOnnx
from skmlp._overflow import overflows
from skmlp._parameters import Known, ineffective_remarks, not_known_valid, unlike_defaults
from skmlp._progress import draws_bar, progress_of
from skmlp._records import Recording
from skmlp._resuming import Resuming, Start
from skmlp._saving import Saving
from skmlp._sklearn_compat import (
    AnnouncedHooks,
    CheckedParameters,
    LinkedDocumentation,
    ShownNetwork,
    as_cloned_by_sklearn,
    cloned,
    lbfgs_options,
    validate_parameters,
)
from skmlp._solvers import (
    check_known_length,
    factors_of,
    is_stochastic,
    optimizer_spec,
    other_schedules,
    schedule_of,
    schedule_remarks,
    solver_remarks,
    uses_lbfgs,
)
from skmlp._splitting import is_splitter
from skmlp._torch import InTorch
from skmlp._validation import (
    check_hidden_layer_sizes,
    check_memory,
    check_parameters_again,
    check_precision,
    check_related_parameters,
    check_sample_weight,
    check_X,
    monitors_of,
    resolve_dtype,
)
from skmlp._vocabulary import check_keywords
from skmlp._warning import Remark, warn
from skmlp._work import Part, Training, Work
from skmlp.engines.base import FitTask, IndexArray
from skmlp.engines.cuda.vocabulary import what_is_lacking
from skmlp.network import storage
from skmlp.network.constraints import Bounds
from skmlp.network.parameters import FloatArray
from skmlp.network.parts import Trained, behind_activation
from skmlp.network.specs import NetworkSpec
from skmlp.training.lbfgs import minimize_lbfgs
from skmlp.training.listening import together
from skmlp.training.loop import Outcome, Trainer, train
from skmlp.training.monitors import MONITORS, Probe
from skmlp.training.state import TrainerState, as_plain, from_plain
from skmlp.training.stopping import StopReason

if TYPE_CHECKING:
    from skmlp._resumed import Resumed, ResumedNetworks

NOTHING = Given()


def offers_partial_fit(estimator: Any) -> bool:
    """Whether `partial_fit` is offered; raises scikit-learn's `AttributeError` if not."""
    if not is_stochastic(estimator):
        raise AttributeError(
            "partial_fit is only available for stochastic optimizers. "
            f"{estimator.solver} is not stochastic. Use solver='adam' or 'sgd'."
        )
    return True


class BaseMLP(
    CheckedParameters,
    AnnouncedHooks,
    LinkedDocumentation,
    ShownNetwork,
    WithCallbacks,
    WithMembers,
    Averaging,
    Resuming,
    Watching,
    Recording,
    Inside,
    Saving,
    InTorch,
    InOnnx,
    ToSklearn,
    BaseEstimator,
    ABC,
):
    """Base of `MLPClassifier` and `MLPRegressor`; not to be used directly."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]]
    _known_parameters: ClassVar[dict[str, Known]]
    loss: Any
    validation_scores_: list[float] | None
    best_validation_score_: float | None
    best_loss_: np.float64 | None
    device_: str
    device_reason_: str
    # What runs the epochs; a learning-rate range test takes another one.
    _make_trainer: Any = Trainer
    # ``_learner(draft, work, resumes=...)`` fits several networks in a way of its own.
    _learner: Any = None
    _network: NetworkSpec
    _custom: tuple[CustomChoice, ...]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        check_keywords(cls, kwargs)
        return super().__new__(cls)

    @abstractmethod
    def __init__(
        self,
        *,
        hidden_layer_sizes: Any,
        activation: Any,
        solver: Any,
        alpha: float,
        batch_size: Any,
        learning_rate: Any,
        learning_rate_init: float,
        power_t: float,
        max_iter: int,
        shuffle: bool,
        random_state: Any,
        tol: float,
        verbose: bool | int,
        warm_start: bool,
        momentum: float,
        nesterovs_momentum: bool,
        early_stopping: bool,
        validation_fraction: float,
        beta_1: float,
        beta_2: float,
        epsilon: float,
        n_iter_no_change: float,
        max_fun: int,
        weight_decay: float,
        clip_norm: float | None,
        dtype: npt.DTypeLike,
        n_jobs: int | None,
        device: str,
        precision: str | None,
        dropout: float | Sequence[float],
        input_dropout: float,
        normalization: Any,
        init: Any,
        dropout_schedule: Any,
        weight_decay_schedule: Any,
        l1_ratio: float,
        clip_value: float | None,
        max_norm: float | None,
        connectivity: Any,
        monotonic_cst: Any,
        frozen_layers: int,
        input_noise: float,
        mixup: float,
        scoring: Any,
        restore_best: bool | None,
        min_iter: int,
        max_time: float | None,
        monitor: str | Sequence[str] | None,
        ema_decay: float | None,
        n_estimators: int,
        bootstrap: bool,
        oob_score: bool,
        embedding: Any,
        input_scale: bool,
        parametrization: str,
        learning_rate_factors: Any,
        weight_decay_factors: Any,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.dtype = dtype
        self.n_jobs = n_jobs
        self.device = device
        self.precision = precision
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.normalization = normalization
        self.init = init
        self.dropout_schedule = dropout_schedule
        self.weight_decay_schedule = weight_decay_schedule
        self.l1_ratio = l1_ratio
        self.clip_value = clip_value
        self.max_norm = max_norm
        self.connectivity = connectivity
        self.monotonic_cst = monotonic_cst
        self.frozen_layers = frozen_layers
        self.input_noise = input_noise
        self.mixup = mixup
        self.scoring = scoring
        self.restore_best = restore_best
        self.min_iter = min_iter
        self.max_time = max_time
        self.monitor = monitor
        self.ema_decay = ema_decay
        self.n_estimators = n_estimators
        self.bootstrap = bootstrap
        self.oob_score = oob_score
        self.embedding = embedding
        self.input_scale = input_scale
        self.parametrization = parametrization
        self.learning_rate_factors = learning_rate_factors
        self.weight_decay_factors = weight_decay_factors

    # What the two estimators do differently

    @abstractmethod
    def _prepare(
        self, X: Any, y: Any, *, reset: bool, incremental: bool, stratifies: bool
    ) -> tuple[Any, float, Targets]:
        """Validate X and y, bound the norms of the rows of X, and encode the targets.

        Where rows are held out and `stratifies`, say by what their split should be stratified.
        """

    @abstractmethod
    def _prepare_validation(
        self, X_val: Any, y_val: Any, targets: Targets
    ) -> tuple[Any, Any, npt.NDArray[Any], npt.NDArray[Any]]:
        """Validate samples to validate with.

        Returns X, y, y as the engines take it, and as outputs are compared with it.
        """

    @abstractmethod
    def _weighed(
        self, targets: Targets, sample_weight: npt.NDArray[np.float64] | None, resumes: bool
    ) -> Targets:
        """Return the targets with what depends on the weights of samples."""

    def _calibrate(
        self,
        network: NetworkSpec,
        outputs_of: Callable[[NetworkSpec], FloatArray],
        targets: npt.NDArray[Any],
        sample_weight: npt.NDArray[np.float64] | None,
    ) -> None:
        """Learn from held-out samples what is not trained; `outputs_of` computes a network's."""

    def check_parameters(self) -> None:
        check_related_parameters(self)
        check_bagging(self)

    def _validate_params(self) -> None:
        self.check_parameters()
        known, constraints = self._known_parameters, self._parameter_constraints
        params = unlike_defaults(self.get_params(deep=False), known, constraints)
        if doubtful := not_known_valid(params, known, constraints):
            validate_parameters(constraints, doubtful, type(self).__name__)
        check_choices(params)

    # Fitting

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        given: Given = NOTHING,
        *,
        incremental: bool,
        draft: Self | None = None,
    ) -> Self:
        """Fit a draft, take over its state, and only then warn: a warning may be an exception."""
        calls = None
        if not incremental:  # before there is a draft, which so has what scikit-learn sets
            calls = self._open_calls(X, y, sample_weight, is_lbfgs=uses_lbfgs(self))
        draft = draft_of(self) if draft is None else draft
        remarks = draft._carry_out(X, y, sample_weight, given, incremental, calls)
        take_over(self, draft)
        if calls is not None:
            calls.close()
        for remark in (*ineffective_remarks(self), *remarks):
            warn(*remark)
        return self

    def _carry_out(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        given: Given,
        incremental: bool,
        calls: Calls | CallsOfSeveral | None,
    ) -> Sequence[Remark]:
        if incremental:
            check_parameters_again(self)
        check_combination(self, incremental=incremental)
        resumed = None
        if given.resume_from is not None:
            from skmlp._checkpoints import checkpoint_for  # which few fits need

            resumed = checkpoint_for(self, given.resume_from, calls)
        goes_on = incremental or self.warm_start
        goes_on = goes_on and (hasattr(self, "coefs_") or is_ensemble(self))
        resumes = goes_on and resumed is None
        if resumes:
            check_members_resumable(self)
        hidden = check_hidden_layer_sizes(self.hidden_layer_sizes)
        if incremental and self.early_stopping:
            raise ValueError(
                "partial_fit does not support early_stopping=True. Set "
                "early_stopping=False, or use fit."
            )
        if incremental:
            check_known_length(self)
        given.check(self.early_stopping)
        splits_freely = not (given.has_rows or is_splitter(self.validation_fraction))
        # Initial weights may have been assigned to an estimator that has seen no data.
        reset = not (resumes and hasattr(self, "n_features_in_"))
        given_X = X
        X, X_norm, targets = self._prepare(
            *(X, y),
            reset=reset,
            incremental=incremental,
            stratifies=splits_freely and given.groups is None,
        )
        if sample_weight is not None:
            sample_weight = check_sample_weight(sample_weight, X)
        if resumed is not None:
            resumes = resumed.prepare(self)
        values = {"X": X, "y": targets.scored, "sample_weight": sample_weight}
        targets = self._weighed(targets, sample_weight, resumes)
        # Scorers see data frames as they are, since predictions look at the names.
        shown_X = given_X if hasattr(self, "feature_names_in_") else X
        samples = Samples(shown_X, targets.y, targets.matrix, targets.scored, targets.weight)
        validation = self._validation_samples(given, targets) if given.has_rows else None
        data = Data({**values, **given.as_validated(validation)})
        with compilation_announced(self.verbose):
            remarks = self._learn(
                *(X, X_norm, targets, hidden, resumes, incremental),
                Watched(samples, given, validation, calls, data, resumed),
            )
        return [*given.remarks_with_lbfgs(), *remarks] if uses_lbfgs(self) else remarks

    def _validation_samples(self, given: Given, targets: Targets) -> tuple[Any, Samples]:
        """Return what `fit` was given to validate with: X, and what scorers are given."""
        X, y, matrix, scored = self._prepare_validation(given.X_val, given.y_val, targets)
        weight = given.sample_weight_val
        if weight is not None:
            weight = check_sample_weight(weight, X, "sample_weight_val")
        has_names = hasattr(self, "feature_names_in_")
        return X, Samples(given.X_val if has_names else X, y, matrix, scored, weight)

    def _learn(
        self,
        X: Any,
        X_norm: float,
        targets: Targets,
        hidden: tuple[int, ...],
        resumes: bool,
        incremental: bool,
        watched: Watched,
    ) -> Sequence[Remark]:
        resumed = watched.resumed
        dtype = self._fit_dtype(self._dtype_so_far(X, resumes, resumed))
        check_frozen_layers(self, len(hidden))
        check_counts_of_factors(self, len(hidden))
        network = describe_network(self, X.shape[1], hidden, targets.heads)
        if network.inputs.noise > 0.0 and issparse(X):
            raise ValueError(
                f"input_noise={self.input_noise} cannot be added to sparse X, which would not be "
                "sparse any more. Use X.toarray(), or input_dropout instead."
            )
        if network.inputs.mixup > 0.0 and issparse(X):
            raise ValueError(
                f"mixup={self.mixup} cannot mix rows of sparse X. Use X.toarray(), or "
                "input_dropout instead."
            )
        check_input(self, network, X)
        if watched.validation is not None:
            check_dense(self, network, watched.validation[0], "X_val")
        optimizer, schedule = optimizer_spec(self), schedule_of(self)
        # Parameters, their gradient, a copy, and the optimizer's state, or what L-BFGS keeps.
        n_vectors = 5 if optimizer is None else 3 + optimizer.n_vectors
        check_memory(network, n_vectors, dtype, self.n_estimators)
        check_precision(self.precision, self.device, dtype)
        # `partial_fit` too counts `max_iter` epochs: it is a fit in pieces, of unknown number.
        lacking = [] if self.device == "cpu" else what_is_lacking(network, optimizer)
        if optimizer is not None:  # L-BFGS looks after bounds itself
            lacking += [*named_constraints(self), *other_schedules(self, network, optimizer)]
        flops = fit_flops(X.shape[0], network.n_coefs, self.max_iter * self.n_estimators)
        choice = choose_for_fit(self.device, flops, lacking)
        if self.verbose and self.device == "auto":
            print(f"device='auto' computes on {choice.device!r}. {choice.reason}")
        engine = make_engine(choice.device, self.n_jobs, self.precision)
        data = engine.load(X, targets.matrix, targets.weight, network, dtype)
        self.device_, self.device_reason_ = choice
        work = Work(
            *(engine, network, optimizer, schedule, data, dtype),
            *(X, X_norm, targets, incremental, watched),
        )
        if self._learner is not None:
            return self._learner(self, work, resumes=resumes)
        if self.n_estimators > 1:
            return fit_members(self, work, resumes=resumes)
        start, bounds = self._begin(work, X, resumes=resumes)
        if optimizer is None:
            report = print if self.verbose and not draws_bar(self) else None
            parameters, remarks = self._fit_lbfgs(work, start, bounds, None, report)
        else:
            parameters, remarks = self._fit_stochastic(work, start, bounds)
        self._end(work, parameters)
        return remarks

    def _begin(self, work: Work, X: Any, *, resumes: bool) -> tuple[Start, Bounds | None]:
        """Return where the training of one network starts, and what its parameters may be.

        `X` are the rows that it is trained on.
        """
        network, optimizer, dtype = work.network, work.optimizer, work.dtype
        watched = work.watched
        resumed = cast("Resumed | None", watched.resumed)
        if resumed is not None and optimizer is not None:
            resumed.compare(self, network, dtype, watched.data)
            start = resumed.start(self, network, optimizer, dtype, work.X.shape[0])
        else:
            start = self._start(network, dtype, resumes, X)
            if not resumes:
                self._forget()
        seed = self._resumed_connection_seed(start, is_drawn=draws_connections(self))
        bounds = bounds_of(self, network, seed or 0)
        if resumed is None:
            is_drawn = not (resumes or holds_weights(self.init))
            constrain(self, network, bounds, start.parameters, is_drawn=is_drawn)
            start = with_constrained_averages(self, network, bounds, start)
        self._drop(OF_SEVERAL)
        self.t_ = getattr(self, "t_", 0)  # unset where a first fit starts from assigned weights
        self.__dict__.update(attributes_of(network))
        self._network = network
        self._drop(("_custom",))
        if custom := custom_choices(self.activation, self.loss):
            self._custom = custom
        # What an earlier fit would go on from belongs to weights that are left behind.
        self._state = TrainerState(start.random_state, self.random_state, connection_seed=seed)
        return start, bounds

    def _end(self, work: Work, parameters: FloatArray) -> None:
        """Take over the network that was trained, unless it overflows."""
        weight = work.targets.weight
        if overflows(work.engine, work.network, work.data, parameters, work.X_norm, weight):
            raise ValueError(f"{OVERFLOWED} The fit diverged: {remedy(self)}")
        self._set_trained(work.network, parameters)

    def _dtype_so_far(
        self, X: Any, resumes: bool, resumed: "Resumed | ResumedNetworks | None"
    ) -> Any:
        """Return the type of the weights that the fit goes on from; if there are none, of X."""
        if not resumes:
            return X.dtype
        if resumed is not None:
            return resumed.dtype
        return np.asarray(members_of(self)[0].coefs_[0]).dtype

    def _fit_dtype(self, so_far: Any) -> str:
        """Return the precision to compute in; a resumed fit keeps its own under "auto"."""
        dtype = resolve_dtype(self.dtype)
        if dtype != "auto":
            return dtype
        return "float32" if so_far == np.float32 else "float64"

    def _calls(
        self,
        work: Work,
        start: Start,
        split: tuple[IndexArray, HeldOut | None] | None = None,
    ) -> Calls | None:
        """Return who calls hooks, and lets them see what this draft learns.

        `split` is what checkpoints know of rows: None with L-BFGS, of which there are none.
        """
        calls, network = work.watched.calls, work.network
        if calls is None:
            return None
        assert isinstance(calls, Calls)
        calls.serve(self, network, start.parameters.dtype)
        if split is not None:
            from skmlp._checkpoints import Snapshots

            rows, held_out = split
            numbers = None if held_out is None else held_out.rows
            own = None if numbers is None else (rows, numbers)
            dtype = start.parameters.dtype.name
            calls.attached = Snapshots(self, network, dtype, work.watched.data, start, own)
        return calls

    def _fit_lbfgs(
        self,
        work: Work,
        start: Start,
        bounds: Bounds | None,
        rows: IndexArray | None,
        report: Callable[[str], None] | None,
    ) -> tuple[FloatArray, Sequence[Remark]]:
        """Minimize the loss of `rows`, None for all, and report lines of progress."""
        network = work.network
        with progress_of(self, self.max_iter) as progress:
            result = minimize_lbfgs(
                work.engine,
                network,
                work.data,
                start.parameters,
                rows=rows,
                alpha=self.alpha,
                max_iter=self.max_iter,
                max_fun=self.max_fun,
                tol=self.tol,
                max_time=self.max_time,
                extra_options=lbfgs_options(),
                report=report,
                bounds=with_frozen(self, network, bounds, start.parameters),
                listener=together(self._calls(work, start), progress),
            )
        interrupted = result.stop_reason is StopReason.INTERRUPTED
        is_finite = interrupted or np.isfinite(result.loss)
        if not (is_finite and np.isfinite(result.parameters).all()):
            raise ValueError(
                f"{DIVERGED} solver='lbfgs' met a loss that is not finite: {remedy(self)}"
            )
        if interrupted:
            remarks = [interrupted_remark(result.n_iter)]
        elif result.stop_reason is StopReason.MAX_TIME:
            remarks = [time_remark(self, result.n_iter)]
        elif result.stop_reason is StopReason.CALLBACK:
            remarks = []
        else:
            remarks = lbfgs_remarks(result.scipy_result, self.max_iter)
        remarks = [*solver_remarks(self), *remarks]
        self.n_iter_ = result.n_iter
        self.loss_ = np.float64(result.loss)
        self._record_lbfgs(result)
        return result.parameters.astype(start.parameters.dtype), remarks

    def _fit_stochastic(
        self, work: Work, start: Start, bounds: Bounds | None
    ) -> tuple[FloatArray, Sequence[Remark]]:
        engine, network, targets, watched = work.engine, work.network, work.targets, work.watched
        rows: IndexArray = np.arange(len(targets.matrix))
        held_out: HeldOut | None = None
        if self.early_stopping:
            rows, held_out = self._rows_to_watch(
                engine, network, work.data, start, targets, watched
            )
        with progress_of(self, 1 if work.is_incremental else self.max_iter) as progress:
            part = Part(
                rows,
                held_out,
                self._effective_batch_size(len(rows)),
                report=print if self.verbose and not draws_bar(self) else None,
                listener=together(self._calls(work, start, (rows, held_out)), progress),
            )
            training = self._training(work, start, bounds, part)
            [outcome] = train(engine, [training.trainer])
        return outcome.parameters, self._learned(work, training, outcome)

    def _training(self, work: Work, start: Start, bounds: Bounds | None, part: Part) -> Training:
        """Return one network about to be trained by a stochastic solver."""
        engine, network, optimizer = work.engine, work.network, work.optimizer
        assert optimizer is not None
        rows, held_out = part.rows, part.held_out
        score = loss = None
        if held_out is not None:
            loss = loss_of(engine, network, held_out)
            score = part.score or self._scorer(engine, network, held_out, loss)
        task = FitTask(
            network=network,
            optimizer=optimizer,
            data=work.data,
            parameters=start.parameters,
            optimizer_state=self._optimizer_start(start, optimizer, work.schedule),
            alpha=self.alpha,
            batch_size=part.batch_size,
            seed=self._resumed_mask_seed(start),
            bounds=bounds,
        )
        names = [name for name in monitors_of(self) if name in MONITORS]
        weight = work.targets.weight
        probe = Probe(names, engine, task, rows, weight, loss) if names else None
        restores = self.early_stopping if self.restore_best is None else self.restore_best
        factors = factors_of(self, network, optimizer)
        trainer = self._make_trainer(
            task,
            rows,
            random_state=start.random_state,
            row_order=self._resumed_row_order(len(rows), start, keyed=engine.draws_orders),
            max_iter=1 if work.is_incremental else self.max_iter,
            schedule=work.schedule,
            **factors,
            patience=self._patience(start, incremental=work.is_incremental),
            samples_seen=getattr(self, "t_", 0),
            validation_score=score,
            report=part.report,
            keeps_best=restores and not work.is_incremental,
            min_iter=self.min_iter,
            max_time=self.max_time,
            probe=probe,
            listener=part.listener,
            draws_alone=isinstance(self.random_state, Integral),
        )
        if start.earlier is not None and start.under_way is not None:
            trainer.go_on(start.earlier)
        return Training(trainer, held_out, factors)

    def _learned(self, work: Work, training: Training, outcome: Outcome) -> list[Remark]:
        """Keep what a network's training has come to; return what to warn of."""
        trainer, held_out = training.trainer, training.held_out
        remarks = [
            *schedule_remarks(self, work.schedule, training.factors),
            *factor_remarks(self, trainer.task.optimizer),
            *stochastic_remarks(self, trainer, incremental=work.is_incremental),
        ]
        self._remember(trainer, outcome)
        if held_out is not None:
            parameters = outcome.parameters
            self._calibrate(
                work.network,
                lambda other: outputs_of(work.engine, other, held_out)(parameters),
                held_out.targets,
                held_out.sample_weight,
            )
        return remarks

    def _effective_batch_size(self, n_train: int) -> int:
        if self.batch_size == "auto":
            return min(200, n_train)
        if self.batch_size > n_train:
            warn(
                f"Got `batch_size` less than 1 or larger than sample size ({self.batch_size} for "
                f"{n_train} training samples). It is going to be clipped."
            )
        return int(min(self.batch_size, n_train))

    def _remember(self, trainer: Trainer, outcome: Outcome) -> None:
        """Set the fitted attributes of the stochastic solvers."""
        losses = trainer.history.losses
        self._record(trainer)
        self.n_iter_ = trainer.n_epochs
        self.t_ = trainer.samples_seen
        self.loss_ = np.float64(losses[-1] if losses else np.nan)
        self.loss_curve_ = [*(getattr(self, "loss_curve_", None) or []), *losses]
        if self.early_stopping:
            earlier = getattr(self, "validation_scores_", None) or []
            self.validation_scores_ = [*earlier, *trainer.history.validation_scores]
            self.best_validation_score_ = trainer.patience.best
            self.best_loss_ = None
        else:
            self.validation_scores_ = None
            self.best_validation_score_ = None
            self.best_loss_ = np.float64(trainer.patience.best)
        if trainer.row_order is not None:
            trainer.row_order.rest(self._state.random_state)
        self._state = trainer.state_for_next(self._state, outcome)

    # Prediction

    def _outputs(self, X: Any) -> FloatArray:
        """Return the network's outputs, shape (n_samples, n_outputs)."""
        return self._compute(X)[1]

    def _compute(
        self, X: Any, change: Callable[[NetworkSpec], NetworkSpec] | None = None
    ) -> tuple[NetworkSpec, FloatArray]:
        """Return the fitted network and its outputs, or those of what `change` makes of it.

        Of an ensemble it is the means of what its members' outputs are to users.
        """
        if is_ensemble(self):
            return self._averaged(X)[:2]
        X, trained = self._checked(X)
        network = trained.network
        computed = trained if change is None else trained._replace(network=change(network))
        return network, self._outputs_of(computed, X)

    def _hidden_outputs(self, X: Any, layer: int) -> FloatArray:
        """Return what the units of a hidden layer put out, shape (n_samples, units)."""
        X, trained = self._checked(X)
        n_layers = len(trained.network.layers)
        if layer >= n_layers:
            raise ValueError(
                f"coefs_ and intercepts_ have {n_layers} hidden layers, but number {layer} (from "
                "zero) is asked for. Assign weights with as many layers as in the fit, or fit "
                "again."
            )
        return self._outputs_of(behind_activation(trained, layer), X)

    def _checked(self, X: Any) -> tuple[Any, Trained]:
        """Return X as the engines take it, and the fitted network."""
        trained = trained_network(self)
        X = check_X(self, X)
        if X.shape[1] != trained.network.n_features:
            raise ValueError(
                f"coefs_[0] has shape {trained.coefs[0].shape}, but X has {X.shape[1]} features. "
                "Assign weights that fit X, or fit again."
            )
        return X, trained

    def _outputs_of(self, trained: Trained, X: Any) -> FloatArray:
        """Return what a network computes where this estimator predicts."""
        check_prediction(self)
        network, coefs, intercepts, extras = trained
        if issparse(X) and network.inputs.embedding:
            raise ValueError(
                "X is sparse, but the network embeds its features, which takes dense rows. Use "
                "X.toarray()."
            )
        dtype = "float32" if coefs[0].dtype == np.float32 else "float64"
        flops = prediction_flops(X.shape[0], network.n_coefs)
        device = choose_for_prediction(self.device, flops, network)
        engine = make_engine(device, self.n_jobs, self.precision if dtype == "float32" else None)
        with compilation_announced(False):
            data = engine.load(X, None, None, network, dtype)
            outputs = engine.predict(network, coefs, intercepts, data, extras=extras)
        # A weight that is NaN shows in every dense sample.
        check_outputs(trained, np.minimum.reduce(outputs) if issparse(X) else outputs[0])
        return outputs

    # Clones and pickles

    def __sklearn_clone__(self) -> Any:
        # What a subclass's constructor does with its parameters is for scikit-learn to look at.
        is_own = "_known_parameters" in vars(type(self))
        return cloned(self) if is_own else as_cloned_by_sklearn(self)

    def __getstate__(self) -> Any:
        state = super().__getstate__()
        if "_network" not in state:
            return state
        plain = {"_network": storage.as_plain(self._network), "_format": storage.FORMAT}
        if "_trained" in state:
            network, parameters = self._trained
            plain["_trained"] = storage.as_plain(network), parameters
        if "_state" in state:
            plain["_state"] = as_plain(self._state)
        return {**state, **plain}

    def __setstate__(self, state: Any) -> None:
        state = own_state(type(self), dict(state))
        storage.check_format(type(self).__name__, state.pop("_format", storage.FORMAT))
        register_custom(state.get("_custom", ()))
        if "_network" in state:
            state["_network"] = storage.from_plain(state["_network"])
        if "_trained" in state:
            network, parameters = state["_trained"]
            state["_trained"] = storage.from_plain(network), parameters
        if "_state" in state:
            state["_state"] = from_plain(state["_state"])
        super().__setstate__(state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


stochastic_only = available_if(offers_partial_fit)
