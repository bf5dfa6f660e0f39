"""joblib's workers as threads whose fits share the cores: ``joblib.parallel_config("skmlp")``.

Why threads, and why more of them than cores: `docs/design/many-fits.md`.
"""

import os
import queue
import threading
import traceback
from collections.abc import Callable
from typing import Any

import joblib.parallel
from joblib.parallel import ParallelBackendBase, register_parallel_backend

from skmlp.engines.pools import Pool, available_cores, belonging_to

NAME = "skmlp"
# Set to anything but nothing or 0, it has the same effect as `patch_joblib`.
VARIABLE = "SKMLP_JOBLIB"
# Threads that run Python, or stand ready, while others compute.
IN_WAITING = 2


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
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    supports_sharedmem = True
    uses_threads = True

    def __init__(
        self, nesting_level: int | None = None, inner_max_num_threads: int | None = None
    ) -> None:
        super().__init__(nesting_level, inner_max_num_threads)
        # Who chooses it wants all cores; as a default it changes nothing.
        self.default_n_jobs = -1 if nesting_level is None else 1
        self._workers: Workers | None = None
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
        outcome, workers = Outcome(func, callback), self._workers
        # A callback may still ask for what comes next while the call is being given up.
        if workers is not None:
            workers.put(outcome)
        return outcome

    def retrieve_result_callback(self, out: "Outcome") -> Any:
        """Return the result, or raise the exception, of a call that has ended."""
        return out.result()

    def start_call(self) -> None:
        if self._workers is None:
            places = min(self._cores, available_cores())
            self._workers = Workers(self._cores + IN_WAITING, Pool(places))
        limit = self.inner_max_num_threads or max(1, available_cores() // self._cores)
        BLAS.limit(limit)

    def stop_call(self) -> None:
        BLAS.unlimit()

    def terminate(self) -> None:
        """Send the threads home."""
        if self._workers is not None:
            self._workers.leave()
            self._workers = None

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Drop what has not begun, and have fits end soon, for which nobody waits."""
        if self._workers is not None:
            self._workers.abandon()
            self._workers = None

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
        raise ValueError("n_jobs == 0 in Parallel has no meaning")
    if n_jobs is None:
        return 1
    return max(1, available_cores() + 1 + n_jobs) if n_jobs < 0 else n_jobs


class Outcome:
    """A call, and what came of it once it has ended."""

    __slots__ = ("_error", "_func", "_result", "callback")

    def __init__(
        self, func: Callable[[], Any], callback: Callable[["Outcome"], None] | None
    ) -> None:
        self._func: Callable[[], Any] | None = func
        self.callback = callback
        self._result: Any = None
        self._error: BaseException | None = None

    def call(self) -> None:
        """Call the function."""
        func, self._func = self._func, None
        assert func is not None
        try:
            self._result = func()
        except BaseException as error:
            # joblib takes the traceback away, which leads to where the result was asked for.
            error.add_note(f"In a thread of the backend {NAME!r}:\n{traceback.format_exc()}")
            self._error = error

    def result(self) -> Any:
        """Return the result or raise the error, once."""
        error, self._error = self._error, None
        if error is not None:
            raise error
        result, self._result = self._result, None
        return result


class Workers:
    """Threads of a pool, started as they are needed.

    Parameters
    ----------
    most : int
        How many threads there may be.
    pool : Pool
        Whose cores their fits share.
    """

    def __init__(self, most: int, pool: Pool) -> None:
        self._most = most
        self._pool = pool
        self._todo: queue.SimpleQueue[Outcome | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._left = 0  # calls that have not ended

    def put(self, outcome: Outcome) -> None:
        """Have a call made.

        Raises
        ------
        RuntimeError
            If the system has no thread at all for it.
        """
        with self._lock:
            self._left += 1
            needs_thread = self._threads < min(self._most, self._left)
            self._threads += needs_thread
        self._todo.put(outcome)
        if needs_thread:
            thread = threading.Thread(target=self._work, name="skmlp-worker", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more to be had: those that are there do the work
                with self._lock:
                    self._threads -= 1
                    if not self._threads:
                        raise

    def leave(self) -> None:
        """Let threads go when they have done what there is to do."""
        with self._lock:
            for _ in range(self._threads):
                self._todo.put(None)
            self._threads = 0

    def abandon(self) -> None:
        """Let threads go as soon as they can; what they are called to do ends by itself."""
        self._pool.is_abandoned = True
        self.leave()

    def _work(self) -> None:
        with belonging_to(self._pool):
            while (outcome := self._todo.get()) is not None:
                self._make(outcome)
                del outcome  # may hold what a fit takes

    def _make(self, outcome: Outcome) -> None:
        if not self._pool.is_abandoned:
            with self._pool.working():
                outcome.call()
        with self._lock:
            self._left -= 1
        # Nobody waits for what has been given up.
        if outcome.callback is not None and not self._pool.is_abandoned:
            outcome.callback(outcome)


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
            self._calls += 1
            if self._calls > 1:
                return
            if self._controller is None:
                from threadpoolctl import ThreadpoolController

                self._controller = ThreadpoolController()
            self._limiter = self._controller.limit(limits=threads, user_api="blas")

    def unlimit(self) -> None:
        """End a call."""
        with self._lock:
            self._calls -= 1
            if self._calls == 0:
                limiter, self._limiter = self._limiter, None
                limiter.restore_original_limits()


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
