"""Processes that answer requests: a crash, a hang or a lost GPU ends one of them and no more.

A worker reads a request per line from its standard input and writes an answer per line to what
was its standard output; whatever else prints there goes to standard error. The first line on its
input names the function ``(**arguments) -> (request -> answer)`` that makes the one who answers.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping
from typing import Any

from benchmarks import measure

_LINES_OF_ERROR = 3
_SECONDS_TO_END = 5.0


class WorkerError(Exception):
    """Why a worker did not answer."""


class Worker:
    """A process that answers one request at a time.

    Parameters
    ----------
    function : str
        ``"module:function"``, called in the process with `arguments`.
    environment : dict, optional
        Variables that the process has besides those of this one.
    """

    def __init__(
        self, function: str, *, environment: Mapping[str, str] | None = None, **arguments: Any
    ) -> None:
        module, name = function.split(":")
        code = "from benchmarks.workers import answer_requests; answer_requests()"
        # Open as long as the process may write to it.
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=measure.ROOT,
            env={**os.environ, **(environment or {})},
        )
        self._answers: queue.Queue[str | None] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self._send({"module": module, "name": name, "arguments": arguments})

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(None)

    def _send(self, message: Any) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # who cannot be told has left an answer that says why
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def ask(self, request: Any, time_limit: float) -> Any:
        """Return the answer to `request`, which JSON can hold.

        Raises
        ------
        WorkerError
            If the process fails, ends, or has not answered after `time_limit` seconds. It is of
            no more use then.
        """
        self._send(request)
        try:
            line = self._answers.get(timeout=max(time_limit, 0.01))
        except queue.Empty:
            self._process.kill()
            raise WorkerError(f"no answer within {time_limit:.0f} s") from None
        if line is None:
            self._answers.put(None)  # whoever asks again shall not wait
            raise WorkerError(self._last_words())
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer["answer"]

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_SECONDS_TO_END)
        if self._errors.closed:
            return "the process has been ended"
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().splitlines() if line.strip()]
        return "; ".join(
            [f"the process ended with {self._process.poll()}", *lines[-_LINES_OF_ERROR:]]
        )

    def end(self) -> None:
        """Tell the process that no request will follow."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # what is still to be sent has nobody to read it
            self._process.stdin.close()

    def close(self) -> None:
        """End the process, whatever it does."""
        self.end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_SECONDS_TO_END)
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # a driver may hold it for long
            self._process.wait(_SECONDS_TO_END)
        # A child of its own may hold the other end still.
        self._listener.join(_SECONDS_TO_END)
        if not self._listener.is_alive():
            assert self._process.stdout is not None
            self._process.stdout.close()
        self._errors.close()


def answer_requests() -> None:
    """Answer a `Worker` until it closes standard input."""
    # What libraries print, in C or Python, must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    respond = None
    for line in sys.stdin:
        message = json.loads(line)
        try:
            if respond is None:
                function = getattr(importlib.import_module(message["module"]), message["name"])
                respond = function(**message["arguments"])
                continue
            answer = {"answer": respond(message)}
        except BaseException as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        if "error" in answer:
            return


class Deadline:
    """A time limit that several steps share.

    Parameters
    ----------
    seconds : float
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds left, negative once it has passed."""
        return self._end - time.monotonic()
