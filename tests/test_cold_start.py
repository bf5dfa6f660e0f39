"""First fits on a machine: who compiles, who waits, who reads what others compiled, who is told."""

import argparse
import contextlib
import errno
import importlib
import io
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numba
import pytest

import skmlp
from skmlp import _engine
from skmlp._engine import COMPILING, WAITING, compilation_announced
from skmlp.engines import folders
from skmlp.engines.cpu import locks
from skmlp.engines.cpu.compilation import jit
from skmlp.engines.listeners import compiling, waiting

ROOT = Path(__file__).resolve().parent.parent
HAS_FORK = hasattr(os, "fork")

# Two drivers that call one function: small, and slow to compile.
SLOW = """
import json, sys, threading, time
import numba.core.compiler
from skmlp.engines.cpu import locks
from skmlp.engines.cpu.compilation import inner, jit
from skmlp.engines.listeners import watch

class Watcher:
    def begin(self, is_waiting):
        print("waiting" if is_waiting else "compiling", flush=True)
    def end(self):
        pass

compiled = []
began = threading.Event()
compile_extra = numba.core.compiler.compile_extra
def slowly(typing_context, target_context, func, *args, **options):
    compiled.append(func.__name__)
    began.set()
    time.sleep(SECONDS)
    return compile_extra(typing_context, target_context, func, *args, **options)
numba.core.compiler.compile_extra = slowly

@inner
def half(x):
    return x / 2

@jit()
def one_more(x):
    return half(x) + 1

@jit()
def two_more(x):
    return half(x) + 2

SECONDS = {seconds}
"""
WATCH = "watcher = Watcher()\nwatch(watcher)\n"
REPORT = "print(json.dumps(compiled))\n"


@pytest.fixture
def start(tmp_path):
    """Return a function that starts a script with kernels in a new folder; end what is left."""
    processes = []

    def start(script, seconds=0.0, **environment):
        environment = {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT), **environment}
        process = subprocess.Popen(
            [sys.executable, "-c", SLOW.format(seconds=seconds) + script],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def printed_by(process):
    """Return the lines that a process which must succeed prints."""
    printed, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return printed.splitlines()


def test_processes_share_the_compilation(start):
    """Whatever they begin with, and though they compile what each other's functions call."""
    calls = ["print(one_more(1.0), two_more(1.0))\n", "print(two_more(1.0), one_more(1.0))\n"]
    processes = [start(call + REPORT, seconds=0.5) for call in calls]
    lines = [printed_by(process) for process in processes]
    assert [values for values, _ in lines] == ["1.5 2.5", "2.5 1.5"]
    compiled = [name for _, names in lines for name in json.loads(names)]
    assert sorted(compiled) == ["half", "one_more", "two_more"]


def test_the_lock_of_a_killed_process_is_free(start):
    holder = start(WATCH + "one_more(1.0)", seconds=100)
    assert holder.stdout.readline() == "compiling\n"
    others = [start(WATCH + "one_more(1.0)\n" + REPORT) for _ in range(2)]
    for other in others:
        assert other.stdout.readline() == "waiting\n"
    holder.kill()
    compiled = [json.loads(printed_by(other)[-1]) for other in others]
    assert sorted(compiled) == [[], ["one_more", "half"]]


def test_patience_has_an_end(start):
    holder = start(WATCH + "one_more(1.0)", seconds=100)
    assert holder.stdout.readline() == "compiling\n"
    patience = "locks.patience.seconds = 0.2\n"
    other = start(WATCH + patience + "one_more(1.0)\n" + REPORT + "print(locks.patience.seconds)")
    *_, compiled, left = printed_by(other)
    assert json.loads(compiled) == ["one_more", "half"]
    assert float(left) <= 0
    # What it compiled is there for others, the holder of the lock notwithstanding.
    assert printed_by(start(WATCH + "one_more(1.0)\n" + REPORT)) == ["[]"]


@pytest.mark.skipif(sys.platform == "win32", reason="no signal can be sent to a process there")
def test_waiting_can_be_interrupted(start):
    holder = start(WATCH + "one_more(1.0)", seconds=100)
    assert holder.stdout.readline() == "compiling\n"
    script = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    one_more(1.0)
except KeyboardInterrupt:
    print("interrupted", locks._held, locks._descriptors)
"""
    other = start(WATCH + script)
    assert other.stdout.readline() == "waiting\n"
    other.send_signal(signal.SIGINT)
    assert printed_by(other) == ["interrupted set() {}"]


@pytest.mark.skipif(not HAS_FORK, reason="processes are not forked here")
def test_forking_while_a_thread_compiles(start):
    """The child would wait for Numba's lock for ever if it were forked in the midst of it."""
    script = """
import os, signal, warnings
warnings.simplefilter("ignore")  # Python warns of forks where there are threads
thread = threading.Thread(target=one_more, args=(1.0,))
thread.start()
began.wait()
child = os.fork()
if child == 0:
    signal.alarm(60)
    os._exit(0 if (one_more(1.0), two_more(1.0)) == (1.5, 2.5) else 1)
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), one_more(1.0), two_more(1.0))
"""
    assert printed_by(
        start("import warnings; warnings.simplefilter('ignore')\n" + script, 0.3)
    ) == ["0 1.5 2.5"]


@pytest.mark.skipif(not HAS_FORK, reason="processes are not forked here")
def test_a_forked_child_neither_has_nor_keeps_nor_releases_a_lock(start, tmp_path):
    script = f"""
import os
from pathlib import Path
folder = Path({str(tmp_path)!r})
with locks.turn(folder, "entry"):
    child = os.fork()
    if child == 0:
        locks.patience.seconds = 0.2
        with locks.turn(folder, "entry") as waited:
            print(os.getpid(), waited > 0.1, flush=True)
        time.sleep(100)
        os._exit(0)
    os.waitpid(child, 0)
"""
    process = start(script)
    child, has_waited = process.stdout.readline().split()
    descriptor = os.open(tmp_path / locks.NAME, os.O_RDWR)
    try:
        assert has_waited == "True"
        assert not locks._lock(descriptor, locks.place("entry"))
        process.kill()
        process.wait()
        assert locks._lock(descriptor, locks.place("entry"))
    finally:
        os.close(descriptor)
        os.kill(int(child), signal.SIGKILL)  # it ran until now


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    return tmp_path


def small_driver():
    @jit()
    def third(x):
        return x / 3

    return third


def test_a_compilation_that_fails_releases_its_lock(empty_cache):
    @jit()
    def fail(x):
        return x.nothing

    with pytest.raises(numba.TypingError):
        fail(1.0)
    assert not locks._held
    assert not locks._descriptors
    assert [path.name for path in empty_cache.rglob("*") if path.is_file()] == [locks.NAME]


def test_without_locks_everyone_compiles(empty_cache, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks, "_lock", refuse)
    assert small_driver()(3.0) == 1.0
    assert list(empty_cache.rglob("*.nbc"))
    shutil.rmtree(empty_cache / "skmlp-cpu")  # and with it the lock file
    assert small_driver()(3.0) == 1.0
    assert list(empty_cache.rglob("*.nbc"))


def test_without_a_home_there_is_no_users_folder(monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "~/.cache")  # as if `~` stood for nothing
    own = Path(skmlp.__file__).parents[1] / "__pycache__" / "skmlp" / "cpu"
    if sys.platform.startswith("linux"):
        assert list(folders.cache_folders("cpu")) == [own]
    else:
        assert next(folders.cache_folders("cpu")) == own


# Other users


@pytest.fixture
def cold_start(monkeypatch):
    """The benchmark, which is not installed."""
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.cold_start")


@pytest.fixture
def other_user(cold_start):
    if sys.platform == "win32":
        pytest.skip("folders cannot be made read-only there")
    try:
        return cold_start.other_user()
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.mark.slow
def test_cold_start_benchmark(cold_start, other_user, lend_drivers, monkeypatch, tmp_path):
    """Real fits: one of two compiles, then nobody, not even who can write nowhere.

    What takes long to compile is there (with nothing, `test_compilation.py` begins).
    """
    lent = tmp_path / "lent"
    fit = cold_start._FIT.format(layers="()", dtype="float32")
    drivers = lend_drivers(fit, lent)
    installation = cold_start.installation

    @contextlib.contextmanager
    def installation_with_drivers():
        with installation() as root:
            shutil.copytree(lent, root / "__pycache__" / "skmlp" / "cpu")
            yield root

    monkeypatch.setattr(cold_start, "installation", installation_with_drivers)
    (table,) = cold_start.run(argparse.Namespace(quick=True, processes=2))
    alone, *together, warm, other = table.rows
    kernels = alone["kernels compiled"]
    # Else what is lent would not be what is looked for: with nothing these are more than twenty.
    assert "run_batches" in {name.split("-")[0] for name in drivers}
    assert 3 <= kernels < 20
    assert sum(row["kernels compiled"] for row in together) == kernels
    assert warm["kernels compiled"] == other["kernels compiled"] == 0
    assert all(row["same result"] for row in table.rows)


def test_a_filled_folder_is_read_by_who_cannot_write_it(cold_start, other_user):
    def compiled(calls, command=other_user, **environment):
        script = SLOW.format(seconds=0) + calls + REPORT
        (names,) = cold_start.fits(script, root, command=command, **environment)
        return names

    one, two = "assert one_more(1.0) == 1.5\n", "assert two_more(1.0) == 2.5\n"
    with cold_start.installation() as root:
        assert compiled(one, command=[]) == ["one_more", "half"]
        own, chosen = root / "__pycache__/skmlp/cpu", root / "chosen"
        assert len(list(root.rglob("*.nbc"))) == len(list(own.glob("*.nbc"))) == 2
        home = root / "home of another"
        home.mkdir()
        with cold_start.read_only(root):
            # What is missing is compiled each time where nothing can be written, else once.
            assert compiled(one + two) == ["two_more"]
            home.chmod(0o777)
            assert compiled(one + two, XDG_CACHE_HOME=str(home)) == ["two_more"]
            assert compiled(one + two, XDG_CACHE_HOME=str(home)) == []
        assert len(list(home.rglob("*.nbc"))) == 1
        # Nor is it lost if it is the folder that one chose oneself.
        shutil.move(own, chosen / "skmlp-cpu")
        with cold_start.read_only(root):
            assert compiled(one, NUMBA_CACHE_DIR=str(chosen)) == []


def test_a_package_in_a_zip_archive_keeps_its_kernels(cold_start, tmp_path):
    """In the user's folder; and a change of its sources is noticed."""
    archive = tmp_path / "packages.zip"
    script = (
        SLOW.format(seconds=0)
        + """
import skmlp
assert ".zip" in skmlp.__file__
assert one_more(1.0) == 1.5
assert jit()(one_more.py_func)(1.0) == 1.5  # comes from the disk
"""
    )
    for change in ("", "# changed\n"):
        with zipfile.ZipFile(archive, "w") as file:
            for path in sorted((ROOT / "skmlp").rglob("*.py")):
                extra = change if path.name == "passes.py" else ""
                file.writestr(str(path.relative_to(ROOT)), path.read_text("utf-8") + extra)
        (names,) = cold_start.fits(script + REPORT, tmp_path, PYTHONPATH=str(archive))
        assert names == ["one_more", "half"]


# Announcements


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch, caplog):
    """A terminal in a process that has not been told anything yet, and is soon."""
    caplog.set_level(logging.INFO, "skmlp")
    monkeypatch.setattr(_engine, "LONG", 0.05)
    monkeypatch.setattr(compilation_announced, "_has_told_user", False)
    terminal = Terminal()
    show_to(terminal, monkeypatch)
    return terminal


def show_to(stream, monkeypatch, modules=()):
    """Let `stream` be the standard error, which pytest itself replaces in between."""
    monkeypatch.setattr(_engine, "sys", SimpleNamespace(stderr=stream, modules=modules))


def hold_up(announced, context):
    """Compile, or wait, until that has been said."""
    with context:
        announced._timer.join()


@pytest.mark.parametrize("context", [compiling("kernel"), waiting()])
def test_a_long_compilation_is_announced_once(terminal, caplog, capsys, context):
    line = COMPILING if context.func.__name__ == "compiling" else WAITING
    with compilation_announced(False) as announced:
        hold_up(announced, context)
        hold_up(announced, compiling("another"))
    begin, end = caplog.messages
    assert begin == line
    assert re.match(r"Compiling took \d+\.\d s\.", end)
    with compilation_announced(False) as announced:
        hold_up(announced, compiling("in a later fit"))
    assert len(caplog.messages) == 4
    assert terminal.getvalue() == f"skmlp: {line}\n"
    assert capsys.readouterr().out == ""


def test_who_was_interrupted_before_its_block_is_told_nothing(terminal, caplog):
    interrupted = compilation_announced(False)
    interrupted.__enter__()
    del interrupted
    with compilation_announced(False) as announced:
        hold_up(announced, compiling("kernel"))
    assert len(caplog.messages) == 2


def test_many_short_compilations_are_a_long_one(terminal):
    with compilation_announced(False):
        for _ in range(5):
            with compiling("kernel"):
                time.sleep(0.02)
        with compiling("kernel"):
            while not terminal.getvalue():
                time.sleep(0.001)
    assert terminal.getvalue() == f"skmlp: {COMPILING}\n"


def test_nothing_is_announced_where_nothing_takes_long(terminal, caplog, monkeypatch):
    monkeypatch.setattr(_engine, "LONG", 1.0)
    with compilation_announced(False), compiling("outer"), compiling("inner"):
        pass
    with compilation_announced(False):
        with compiling("kernel"):
            pass
        time.sleep(1.1)  # the fit itself
    assert (terminal.getvalue(), caplog.messages) == ("", [])


def test_a_verbose_fit_is_told_at_once_and_not_again(terminal, capsys):
    with compilation_announced(True) as announced:
        with compiling("kernel"):
            assert capsys.readouterr().out == f"{COMPILING}\n"
        hold_up(announced, waiting())
    assert terminal.getvalue() == ""
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_only_who_can_see_it_is_told(terminal, caplog, monkeypatch, stream):
    show_to(stream, monkeypatch)
    with compilation_announced(False) as announced:
        hold_up(announced, compiling("kernel"))
    assert len(caplog.messages) == 2
    assert stream is None or stream.getvalue() == ""


def test_a_notebook_is_told(terminal, monkeypatch):
    notebook = io.StringIO()
    show_to(notebook, monkeypatch, modules=["ipykernel"])
    with compilation_announced(False) as announced:
        hold_up(announced, compiling("kernel"))
    assert notebook.getvalue() == f"skmlp: {COMPILING}\n"


def test_without_another_thread_there_is_no_announcement(terminal, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    with compilation_announced(False), compiling("kernel"):
        time.sleep(0.1)
    assert terminal.getvalue() == ""


def test_an_announcement_does_not_outlive_the_interpreter(start):
    script = """
import logging
from skmlp import _engine
from skmlp.engines.listeners import compiling
logging.basicConfig(level=logging.INFO)
_engine.LONG = 1.0
_engine.compilation_announced(False).__enter__()
compilation = compiling("kernel")
compilation.__enter__()
"""
    process = start(script)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
