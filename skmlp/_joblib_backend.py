"""joblib's workers as threads whose fits share the cores: ``joblib.parallel_config("skmlp")``.

Why threads, and why more of them than cores: `docs/design/many-fits.md`.
"""

import os
import threading
import traceback
from collections.abc import Callable
from typing import Any

import joblib.parallel
from joblib.parallel import ParallelBackendBase, register_parallel_backend

from skmlp.engines.pools import IN_WAITING, Pool, Threads, available_cores

NAME = "skmlp"
# Set to anything but nothing or 0, it has the same effect as `patch_joblib`.
VARIABLE = "SKMLP_JOBLIB"


def register() -> None:
    """Make the backend known to joblib; nothing else happens until somebody asks for it."""
    wanted = os.environ.get(VARIABLE, "0") not in ("", "0")
    register_parallel_backend(NAME, SkmlpBackend)
    if wanted:
        patch_joblib()


class SkmlpBackend(ParallelBackendBase):
    """Threads of this process, whose fits take turns on the cores.

    Parameters
    ----------
    nesting_level : int, default=None
        What joblib gives it where it is the default and nobody has chosen it.
    inner_max_num_threads : int, default=None
        Threads of NumPy's and SciPy's BLAS in each call. None shares out the cores.

    Raises
    ------
    TypeError
        If there is another option.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    supports_sharedmem = True
    uses_threads = True

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise TypeError(
                f"The backend {NAME!r} of joblib has no option {next(iter(unknown))!r}. Use n_jobs "
                "for the number of cores, and inner_max_num_threads for threads of BLAS."
            )
        super().__init__(nesting_level, inner_max_num_threads)
        # Who chooses it wants all cores; as a default it changes nothing.
        self.default_n_jobs = -1 if nesting_level is None else 1
        self._threads: Threads | None = None
        self._pool = Pool(1)
        self._cores = 1

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many cores so many jobs stand for, which others ask to divide their work."""
        return cores_for(n_jobs)

    def configure(self, n_jobs: int | None = 1, parallel: Any = None, **options: Any) -> int:
        """Make ready for calls, and return the number of threads."""
        self.parallel = parallel
        self._cores = cores_for(n_jobs)
        return self._cores + IN_WAITING if self._cores > 1 else 1

    def submit(
        self, func: Callable[[], Any], callback: Callable[[Any], None] | None = None
    ) -> "Outcome":
        """Have a thread call `func`, and then `callback` with what came of it."""
        outcome, threads = Outcome(func, callback, self._pool), self._threads
        # A callback may still ask for what comes next while the call is being given up.
        if threads is not None and not threads.put(outcome.come):
            raise RuntimeError("The system has no thread for a job. End others, or use n_jobs=1.")
        return outcome

    def retrieve_result_callback(self, out: "Outcome") -> Any:
        """Return the result, or raise the exception, of a call that has ended."""
        return out.result()

    def start_call(self) -> None:
        if self._threads is None:
            self._pool = Pool(min(self._cores, available_cores()))
            self._threads = Threads(self._pool, self._cores + IN_WAITING, "skmlp-worker")
        BLAS.limit(self.inner_max_num_threads or max(1, available_cores() // self._cores))

    def stop_call(self) -> None:
        BLAS.unlimit()

    def terminate(self) -> None:
        """Send the threads home."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.leave()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Drop what has not begun, and have fits end soon, for which nobody waits."""
        self._pool.is_abandoned = True
        self.terminate()

    def get_nested_backend(self) -> tuple[Any, None]:
        """Let calls within a call run one after the other: cores are busy with their like."""
        return joblib.parallel.SequentialBackend(nesting_level=(self.nesting_level or 0) + 1), None


def cores_for(n_jobs: int | None) -> int:
    """Return how many cores so many jobs of joblib's stand for.

    Raises
    ------
    ValueError
        If it is zero.
    """
    if n_jobs == 0:
        raise ValueError(
            "n_jobs == 0 in Parallel has no meaning. Use -1 for all cores, or None for one job."
        )
    if n_jobs is None:
        return 1
    return max(1, available_cores() + 1 + n_jobs) if n_jobs < 0 else n_jobs


class Outcome:
    """What comes of a call.

    Parameters
    ----------
    func : callable
    callback : callable or None
        ``callback(outcome)`` afterwards.
    pool : Pool
        That of the thread that calls it.
    """

    __slots__ = ("_callback", "_error", "_func", "_pool", "_result")

    def __init__(
        self, func: Callable[[], Any], callback: Callable[["Outcome"], None] | None, pool: Pool
    ) -> None:
        self._func: Callable[[], Any] | None = func
        self._callback = callback
        self._pool = pool
        self._result: Any = None
        self._error: BaseException | None = None

    def come(self) -> None:
        """Call the function, and then the callback, unless nobody waits for them any more."""
        if self._pool.is_abandoned:
            return
        func, self._func = self._func, None
        assert func is not None
        try:
            with self._pool.working():
                self._result = func()
        except BaseException as error:
            # joblib takes the traceback away, which leads to where the result was asked for.
            error.add_note(f"In a thread of the backend {NAME!r}:\n{traceback.format_exc()}")
            self._error = error
        del func  # may hold what a fit takes
        if self._callback is not None and not self._pool.is_abandoned:
            self._callback(self)

    def result(self) -> Any:
        """Return the result or raise the error, once."""
        error, self._error = self._error, None
        if error is not None:
            raise error
        result, self._result = self._result, None
        return result


class BlasLimit:
    """One limit of BLAS's threads for all calls under way, taken away after the last one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._controller: Any = None
        self._limiter: Any = None
        self._calls = 0

    def limit(self, threads: int) -> None:
        """Begin a call; that of the first one holds for those that begin while it lasts."""
        with self._lock:
            if self._calls == 0:
                if self._controller is None:
                    from threadpoolctl import ThreadpoolController

                    self._controller = ThreadpoolController()
                self._limiter = self._controller.limit(limits=threads, user_api="blas")
            self._calls += 1

    def unlimit(self) -> None:
        """End a call; one that began before a fork is not known in the child."""
        with self._lock:
            if self._calls == 0:
                return
            self._calls -= 1
            if self._calls == 0:
                self._limiter.restore_original_limits()
                self._limiter = None


BLAS = BlasLimit()


def _begin_anew() -> None:
    """Forget calls under way when this process was forked: their threads are not in the child."""
    global BLAS
    if BLAS._limiter is not None:
        BLAS._limiter.restore_original_limits()
    BLAS = BlasLimit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)

_former_default: str | None = None


def patch_joblib() -> None:
    """Make our threads joblib's default workers in this process.

    From then on searches, cross-validation and ensembles of scikit-learn, and other users of
    joblib, run their jobs on threads of this process whose fits share its cores, unless a backend
    is chosen, or processes are preferred, in the call. That pays where fits are ours, since no
    worker has to be started and no data are copied; code that computes in Python is not faster on
    threads. ``n_jobs`` keeps its meaning and its default of one job. The environment variable
    ``SKMLP_JOBLIB=1`` does the same when skmlp is imported.

    See Also
    --------
    unpatch_joblib : Undo it.

    Notes
    -----
    For one block only: ``with joblib.parallel_config("skmlp"):``, where jobs are as many as cores
    unless ``n_jobs`` is given.

    Examples
    --------
    >>> import skmlp
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import GridSearchCV
    >>> skmlp.patch_joblib()
    >>> grid = {"alpha": [0.0001, 0.1]}
    >>> model = skmlp.MLPClassifier((), solver="lbfgs", tol=0.01, random_state=0)
    >>> search = GridSearchCV(model, grid, n_jobs=2).fit(*load_iris(return_X_y=True))
    >>> skmlp.unpatch_joblib()
    """
    global _former_default
    current = joblib.parallel.DEFAULT_BACKEND
    if current != NAME:
        _former_default = current
        register_parallel_backend(NAME, SkmlpBackend, make_default=True)


def unpatch_joblib() -> None:
    """Give joblib its former default workers back; without a patch it does nothing.

    See Also
    --------
    patch_joblib : What it undoes.

    Examples
    --------
    >>> import skmlp
    >>> skmlp.patch_joblib()
    >>> skmlp.unpatch_joblib()
    """
    global _former_default
    former, _former_default = _former_default, None
    # What others have made the default since is theirs to take away.
    if former is not None and joblib.parallel.DEFAULT_BACKEND == NAME:
        factory = joblib.parallel.BACKENDS[former]
        register_parallel_backend(former, factory, make_default=True)
