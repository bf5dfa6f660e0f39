"""Ctrl-C: every process ends soon, and the next fit is right (the sweep is `interrupts.py`)."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import skmlp

SCRIPT = Path(__file__).with_name("interrupts.py")
UNTIL_KILLED = """
import numpy as np
from skmlp import MLPClassifier
X = np.random.default_rng(0).normal(size=(20_000, 100))
model = MLPClassifier((200,), {options}, n_jobs=2, random_state=0)
model.set_params(max_iter=1).fit(X, X[:, 0] > 0)  # imports and compiles
model.set_params(max_iter=100_000)
print("begins", flush=True)
while True:
    model.fit(X, X[:, 0] > 0)
"""


def environment():
    return {**os.environ, "PYTHONPATH": str(Path(skmlp.__file__).parents[1])}


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer signals here")
def test_interrupts_at_random_moments_and_lines():
    command = [sys.executable, SCRIPT, "--seconds", "8", "--lines-every", "150"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=environment(), check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no hang, no wrong fit" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill cannot send Ctrl-C there")
@pytest.mark.parametrize("options", ["solver='adam', tol=0", "solver='lbfgs', tol=0"])
def test_two_interrupts_end_a_program(options):
    """The first ends a fit, the second one the program, as nothing handles it."""
    script = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script + UNTIL_KILLED.format(options=options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        try:
            assert process.stdout.readline() == "begins\n"
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
            is_running = process.poll() is None
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=10)
        finally:
            process.kill()
    assert is_running, errors
    assert "KeyboardInterrupt" in errors


ASYNCIO = """
import asyncio, os, signal, threading
import numpy as np
from skmlp import MLPClassifier
X = np.random.default_rng(0).normal(size=(5000, 100))

async def fit():
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    model = MLPClassifier((100,), max_iter=100_000, tol=0, n_jobs=2)
    await asyncio.to_thread(model.fit, X, X[:, 0] > 0)

async def main():
    task = asyncio.create_task(fit())
    try:
        await task
    except asyncio.CancelledError:
        print("canceled", flush=True)
        os._exit(0)  # its thread goes on, as any thread would

MLPClassifier((100,), max_iter=1, n_jobs=2).fit(X, X[:, 0] > 0)
asyncio.run(main())
"""
OWN_HANDLER = """
import os, signal, threading, warnings
import numpy as np
from skmlp import MLPClassifier
warnings.simplefilter("ignore")
X = np.random.default_rng(0).normal(size=(5000, 100))
y = X[:, 0] > 0
def model():
    return MLPClassifier((100,), max_iter=20, n_jobs=2, random_state=0)
expected = model().fit(X, y).coefs_[0].tobytes()
seen = []
signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
for moment in np.linspace(0.01, 0.3, 8):
    timer = threading.Timer(moment, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    assert model().fit(X, y).coefs_[0].tobytes() == expected
    timer.join()
assert len(seen) == 8, seen
class Stop(Exception): pass
def stop(number, frame): raise Stop
signal.signal(signal.SIGINT, stop)
threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
fitted = model().fit(X, y)
try:
    fitted.set_params(max_iter=100_000, tol=0).fit(X, y)
except Stop:
    assert fitted.coefs_[0].tobytes() == expected
else:
    raise AssertionError("the handler's exception was lost")
print("done")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill cannot send Ctrl-C there")
def test_handlers_of_users_are_honored(run_python):
    """One that notes, and one that raises something of its own; the fit's state is the old one."""
    script = OWN_HANDLER.replace("Timer(0.05", "Timer(1.0")
    assert "done" in run_python(script)


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill cannot send Ctrl-C there")
def test_asyncio_cancels_its_task(run_python):
    assert "canceled" in run_python(ASYNCIO)
