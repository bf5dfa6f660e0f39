"""``python -m benchmarks gpu`` on a machine without a GPU: that it runs, and what it says."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
H100 = "NVIDIA H100 80GB HBM3"


def run_in_the_simulator(*arguments):
    """Run a command of the benchmarks; return the lines it prints."""
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    assert "Simulated" in process.stdout
    return process.stdout.splitlines()


@pytest.mark.skipif(sys.platform == "win32", reason="the simulator is slow there")
def test_runs_in_the_simulator():
    names = ["skmlp resident", "skmlp batched"]
    lines = run_in_the_simulator("gpu", "--rows", "small", "--only", *names)
    groups = ["ResidentGroup", "BatchedGroup", "ResidentGroup"]  # the last one of one block
    assert [line.split()[-1] for line in lines if line.startswith("skmlp")] == groups


@pytest.mark.skipif(sys.platform == "win32", reason="the simulator is slow there")
def test_paths_in_the_simulator():
    printed = run_in_the_simulator("paths")
    lines = [line.split() for line in printed if line.startswith("tiny")]
    assert [line[2] for line in lines[:-1]] == ["batched", "resident"]
    assert all(float(line[4].replace(",", "")) > 0 for line in lines)
    assert lines[-1][:2] == ["tiny", "2"]


def test_a_wrong_choice_of_path_is_told(load):
    judge = load("paths").judge
    line = {"network": "n", "models": 1, "is chosen": False}
    lines = [
        {**line, "path": "batched", "blocks": 1, "us": 20.0, "is chosen": True},
        {**line, "path": "resident", "blocks": 4, "us": 10.0},
        {**line, "path": "resident", "blocks": 8, "remark": "failed"},
    ]
    entry = judge(lines)
    assert (entry["chosen"], entry["best"], entry["best blocks"]) == ("batched", "resident", 4)
    assert entry["us/best"] == 2
    # What was chosen failed: the table says what would have been the best.
    del lines[0]["us"]
    entry = judge(lines)
    assert (entry["us"], entry["best"]) == (None, "resident")
    assert "us/best" not in entry


LISTING = """
.L_x_0:
        /*0010*/                   LDS.128 R4, [R2] ;
.L_x_1:
        /*0020*/                   FFMA R0, R4, R5, R0 ;
        /*0030*/                   FFMA R1, R4, R6, R1 ;
        /*0040*/                   LDS R4, [R3] ;
        /*0050*/              @!P0 BRA `(.L_x_1) ;
        /*0060*/              @P1  BRA `(.L_x_2) ;
        /*0070*/              @UP0 BRA `(.L_x_0) ;
.L_x_2:
        /*0080*/                   FADD R0, R0, R1 ;
        /*0090*/                   BRA `(.L_x_2) ;
"""


def test_loops_of_products_are_found(load):
    """The inner one; neither the one around it, nor a loop without multiplications."""
    [loop] = load("instructions").product_loops(LISTING)
    assert (loop["instructions"], loop["multiply"], loop["load"]) == (4, 2, 1)
    assert loop["multiply/all"] == 0.5
    assert loop["mix"] == {"FFMA": 2, "LDS": 1, "BRA": 1}


def answers(kind):
    """Stand in for a competitor that does what its name says."""

    def respond(request):
        if kind == "crashes" and request == "sample":
            os.abort()
        if kind == "hangs":
            time.sleep(60)
        if kind == "raises":
            raise ValueError("no such kernel")
        print("libraries print")
        return {"request": request}

    if kind == "never begins":
        raise MemoryError("no room")
    return respond


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("crashes", "the process ended with -"),
        ("hangs", "no answer within 1 s"),
        ("raises", "ValueError: no such kernel"),
        ("never begins", "MemoryError: no room"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="processes end with other numbers there")
def test_a_worker_that_fails_says_why(kind, reason, load, monkeypatch):
    workers = load("workers")
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    monkeypatch.setenv("PYTHONPATH", path)
    worker = workers.Worker("test_gpu_benchmark:answers", kind=kind)
    try:
        if kind == "crashes":
            assert worker.ask("prepare", 30) == {"request": "prepare"}
        with pytest.raises(workers.WorkerError, match=reason):
            worker.ask("sample", 1 if kind == "hangs" else 30)
        with pytest.raises(workers.WorkerError):
            worker.ask("sample", 5)
    finally:
        worker.close()


@pytest.mark.parametrize(
    ("name", "float32", "bandwidth"),
    [
        (H100, 66.9, 3.35),
        ("NVIDIA H100 PCIe", 51.2, 2.04),
        ("NVIDIA H200", 66.9, 4.8),
        ("NVIDIA A100-SXM4-80GB", 19.5, 2.039),
        ("Tesla T4", 8.1, 0.32),
    ],
)
def test_chips_are_known_by_their_names(name, float32, bandwidth, load):
    chip = load("chips").find_chip(name)
    assert (chip.float32, chip.bandwidth) == (float32, bandwidth)


def test_unknown_chip_has_no_floor(load):
    chips = load("chips")
    assert chips.find_chip("NVIDIA A1000") is None
    workload = load("workloads").WORKLOADS["digits"]
    assert chips.arithmetic_floor(workload, None, "float32") is None
    assert chips.bytes_floor(workload, None) is None


def test_floors_of_the_digits(load):
    chips, workload = load("chips"), load("workloads").WORKLOADS["digits"]
    chip = chips.find_chip(H100)
    flops = 6 * 200 * (64 * 100 + 100 * 10) - 2 * 200 * 64 * 100
    assert chips.arithmetic_floor(workload, chip, "float32") == pytest.approx(flops / 66.9e6)
    n_parameters = 65 * 100 + 101 * 10
    n_bytes = 4 * (200 * 65 + 6 * n_parameters)
    assert chips.bytes_floor(workload, chip) == pytest.approx(n_bytes / 3.35e6)


@pytest.mark.parametrize("row", ["small", "many", "medium", "wide", "search"])
def test_tables_hold_figures_and_errors(row, load):
    gpu, report = load("gpu"), load("report")
    device = gpu.Device(H100, "cuda", False)
    lines = [
        {"competitor": name, "samples": [2e-6, 3e-6, 1e-6], "path": "1 BatchedGroup"}
        for name in gpu.COMPETITORS[row]
    ]
    failed = lines[-1]
    del failed["samples"]
    failed["error"] = "CUDA reports CUDA_ERROR_ILLEGAL_ADDRESS. " * 4
    text = report.render(gpu.make_table(row, lines, device))
    assert H100 in text
    assert "CUDA_ERROR_ILLEGAL_ADDRESS" in text
    assert "1.00x" in text
    aims = gpu.summary({row: lines})
    assert all(line["met"] in ("yes", "no", "not measured") for line in aims.rows)
    assert report.render(aims)


def test_nothing_measured_is_a_table_too(load):
    gpu, report = load("gpu"), load("report")
    assert "none" in report.render(gpu.summary({}))
    aims = gpu.summary({"small": [{"competitor": "skmlp", "error": "lost"}]})
    assert {line["met"] for line in aims.rows} == {"not measured"}


def test_results_are_written_again(load, monkeypatch, tmp_path):
    report = load("report")
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    table = report.Table("title", ["a"], [{"a": 1}])
    path = report.save("gpu", [table], None, {"gpu": {"name": H100}})
    assert report.save("gpu", [table, table], path) == path
    another = report.save("gpu", [table])
    assert another != path
    path.unlink()  # an older one that is kept keeps its name
    report.save("gpu-other", [table])
    newest = report.save("gpu", [table])
    assert newest.stem == another.stem.removesuffix("-2") + "-3"
    assert len(list(tmp_path.iterdir())) == 3
