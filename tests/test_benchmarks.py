"""``python -m benchmarks`` without timing anything: what it makes of samples, and of two trees."""

import argparse
import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STEADY, SCATTERED = [1.0, 1.01, 0.99, 1.0, 1.0], [1.0, 2.0, 0.5, 1.0, 3.0]


@pytest.fixture
def no_pauses(load, monkeypatch):
    monkeypatch.setattr(load("measure"), "_PAUSE", 0.0)


def sampler_of(*attempts):
    """Return a fake sampler: it gives the samples of the attempts, the n-th at stretch 2 ** n."""
    samples = {2**i: itertools.cycle(values) for i, values in enumerate(attempts)}
    stretches = []

    def sample(stretch):
        stretches.append(stretch)
        return next(samples[stretch])

    sample.stretches = stretches
    return sample


# --- Samples that scatter ---


@pytest.mark.parametrize(
    ("samples", "expected"),
    [([2.0] * 4, 0.0), ([1.0, 2.0, 3.0], 0.5), ([1.0, 9.0], None), ([], None)],
)
def test_spread_is_the_interquartile_range_over_the_median(samples, expected, load):
    assert load("steady").spread(samples) == expected


@pytest.mark.usefixtures("no_pauses")
def test_steady_samples_are_drawn_once(load):
    sampler = sampler_of(STEADY)
    measurement = load("steady").measured({"a": sampler}, 5)
    assert (measurement.attempts, measurement.doubts) == (1, {})
    assert sampler.stretches == [1] * 5
    assert measurement.medians == {"a": 1.0}


@pytest.mark.usefixtures("no_pauses")
def test_scattered_samples_are_drawn_again_for_longer_and_all_in_turns(load):
    one, other = sampler_of(STEADY, [5.0]), sampler_of(SCATTERED, [7.0])
    measurement = load("steady").measured({"a": one, "b": other}, 5)
    assert one.stretches == other.stretches == [1] * 5 + [2] * 5
    assert (measurement.attempts, measurement.doubts) == (2, {})
    assert measurement.medians == {"a": 5.0, "b": 7.0}


@pytest.mark.usefixtures("no_pauses")
def test_what_scatters_on_is_said(load):
    """The attempt with the fewest doubts counts, whatever its figures are."""
    steady = load("steady")
    one = sampler_of(SCATTERED, STEADY, SCATTERED)
    other = sampler_of(SCATTERED, SCATTERED, [0.1, 0.2, 0.01])
    measurement = steady.measured({"a": one, "b": other}, 5)
    assert measurement.attempts == steady.ATTEMPTS == 3
    assert sorted(set(one.stretches)) == [1, 2, 4]
    assert measurement.samples == {"a": STEADY, "b": SCATTERED}
    assert list(measurement.doubts) == ["b"]
    row = {"case": "one", **measurement.facts}
    assert row["spread"] == {"a": 0.0, "b": 1.0}
    (note,) = steady.notes([row, {"case": "two"}], "case")
    assert note == "DOUBTFUL: one, b: samples spread over 100% of the median."


def test_a_best_that_stands_alone_is_doubtful(load):
    lonely_best = load("steady").lonely_best
    assert lonely_best({"a": [1.0, 1.01, 1.02, 9.0, 9.0]}) == {}
    assert list(lonely_best({"a": [1.0, 1.4, 1.5, 1.3, 1.2]})) == ["a"]


@pytest.mark.usefixtures("no_pauses")
def test_repeated_calls_are_as_many_as_asked_for(load):
    calls = []
    load("steady").repeated(lambda: calls.append(1), calls=3)(2)
    assert len(calls) == 6


# --- Figures below the limit ---


@pytest.fixture
def fit(load):
    return load("fit")


def fake_row(fit, monkeypatch, **samplers):
    """Measure a row of fake peers, the limit among them, in float64."""
    limit = samplers.pop("limit")
    monkeypatch.setattr(fit, "installed_peers", lambda dtype: list(samplers))
    monkeypatch.setattr(fit, "peer_sampler", lambda peer, *_: samplers[peer])
    monkeypatch.setattr(fit, "limit_sampler", lambda *_: limit)
    return fit.measure_row(fit.WORKLOADS["wide"], "float64", None, fit.FULL)


@pytest.mark.usefixtures("no_pauses")
def test_a_figure_below_the_limit_is_measured_again(fit, monkeypatch):
    skmlp, limit = sampler_of([0.6], [1.5]), sampler_of([1.0], [1.0])
    measurement = fake_row(
        fit, monkeypatch, skmlp=skmlp, sklearn=sampler_of([3.0], [3.0]), limit=limit
    )
    assert limit.stretches == skmlp.stretches == [1] * 5 + [2] * 5
    assert measurement.doubts == {}
    assert measurement.medians == {"skmlp": 1.5, "sklearn": 3.0, "limit": 1.0}


def table_of(fit, load, *rows):
    """Return the table of rows, each with the seconds of its figures; and the table's text."""
    steady = load("steady")
    found = []
    for name, figures in zip(("digits", "wide"), rows, strict=False):
        samples = {key: [value] * 3 for key, value in figures.items()}
        found.append((fit.WORKLOADS[name], steady.Measurement(samples, fit.judge(samples), 3)))
    table = fit.make_table("float64", found, 2)
    return table.rows, load("report").render(table)


def limit_at(load, name, flops_per_second):
    return load("workloads").WORKLOADS[name].flops_per_step / flops_per_second


def test_a_disturbed_dot_gives_way_to_the_fastest_one(fit, load):
    """It was fast beside another row: the figure may well be right."""
    fast, slow = limit_at(load, "wide", 2e11), limit_at(load, "wide", 1e11)
    digits = {"skmlp": 1.0, "sklearn": 5.0, "limit": limit_at(load, "digits", 2e11)}
    wide = {"skmlp": 1.2 * fast, "sklearn": 3.0 * fast, "limit": slow}
    (_, row, means), text = table_of(fit, load, digits, wide)
    assert row["limit"] == pytest.approx(1e6 * fast)
    assert row["skmlp/limit"] == pytest.approx(1.2)
    assert list(row["doubts"]) == ["limit"]
    assert "DOUBTFUL: wide, limit: np.dot was disturbed" in text
    assert means["sklearn/skmlp"] == pytest.approx((5 * 2.5) ** 0.5)


def test_a_figure_below_every_limit_has_no_ratios(fit, load):
    digits = {"skmlp": 1.0, "sklearn": 5.0, "limit": limit_at(load, "digits", 2e11)}
    limit = limit_at(load, "wide", 2e11)
    wide = {"skmlp": 0.6 * limit, "sklearn": 3.0 * limit, "limit": limit}
    (_, row, means), text = table_of(fit, load, digits, wide)
    assert not {"skmlp/limit", "sklearn/skmlp"} & row.keys()
    assert "DOUBTFUL: wide, skmlp: is below what the machine can do" in text
    assert means["sklearn/skmlp"] == pytest.approx(5.0)
    # Another one's fault leaves skmlp's ratio to the limit.
    wide = {"skmlp": 2.0 * limit, "sklearn": 0.9 * limit, "limit": limit}
    (_, row, _), text = table_of(fit, load, digits, wide)
    assert row["skmlp/limit"] == pytest.approx(2.0)
    assert "sklearn/skmlp" not in row


@pytest.mark.parametrize(
    ("figures", "doubtful"),
    [([1.0, 1.0, 1.0], False), ([1.0, 5.0, 9.0], True), ([1e-9] * 3, True)],
    ids=["steady", "scattered", "below the floor"],
)
def test_doubtful_figures_of_a_gpu_are_said(figures, doubtful, load):
    gpu, report = load("gpu"), load("report")
    device = gpu.Device("NVIDIA H100 80GB HBM3", "cuda", False)
    lines = {
        "skmlp": {"competitor": "skmlp", "samples": figures, "sample seconds": 1.0},
        "torch eager": {"competitor": "torch eager", "error": "lost"},
    }
    workers = {name: FakeWorker(figures) for name in lines}
    gpu.sample_again("small", lines, workers, 3, device, load("workers").Deadline(1000))
    attempts = load("steady").ATTEMPTS if doubtful else 1
    assert lines["skmlp"]["attempts"] == attempts
    again = ["lengthen", "sample", "sample", "sample"] * (attempts - 1)
    assert workers["skmlp"].requests == again
    assert workers["torch eager"].requests == []
    text = report.render(gpu.make_table("small", list(lines.values()), device))
    assert ("DOUBTFUL: skmlp" in text) == doubtful


class FakeWorker:
    """Answers with the same samples again and again."""

    def __init__(self, figures):
        self._figures = itertools.cycle(figures)
        self.requests = []

    def ask(self, request, time_limit):
        self.requests.append(request)
        if request == "lengthen":
            return {"units": 2}
        return {"seconds": next(self._figures), "sample seconds": 1.0}


# --- Two trees ---


@pytest.fixture
def other_tree(tmp_path):
    """Return another checkout, whose skmlp is told apart by its version."""
    folder = tmp_path / "other"
    left_out = shutil.ignore_patterns("__pycache__", "*.nb[ci]")
    shutil.copytree(ROOT / "skmlp", folder / "skmlp", ignore=left_out)
    with (folder / "skmlp" / "__init__.py").open("a") as file:
        file.write('__version__ = "0.old"\n')
    # Benchmarks of its own, which must not be used.
    (folder / "benchmarks").mkdir()
    (folder / "benchmarks" / "__init__.py").write_text("raise ImportError('the other benchmarks')")
    return folder


def case_sampler(case, scale):
    """Stand in for a subject of the benchmarks: figures by the skmlp of a new process."""
    if case == "unknown":
        raise ValueError("no such case")
    printed = subprocess.run(
        [sys.executable, "-c", "import skmlp; print(skmlp.__version__)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return lambda stretch: scale * (3.0 if printed.strip() == "0.old" else 2.0)


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.skipif(sys.platform == "win32", reason="links to folders need rights there")
def test_another_tree_takes_turns_with_this_one(other_tree, load, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    trees, report = load("trees"), load("report")
    arguments = argparse.Namespace(against=other_tree, repeats=4, quick=False)
    table = trees.compare("test_benchmarks", ["one", "unknown"], "ms", arguments, {"scale": 0.5})
    one, unknown = table.rows
    assert (one["old ms"], one["new ms"], one["old/new"]) == (1500.0, 1000.0, 1.5)
    assert (one["rounds"], one["spread of ratios"], one["doubts"]) == (4, 0.0, {})
    assert "no such case" in unknown["remark"]
    text = report.render(table)
    assert "1.50x" in text
    assert str(other_tree) in text


def test_ratios_are_judged_and_not_what_slows_both_down(load):
    trees = load("trees")
    drifting = {"old": [1.0, 2.0, 4.0, 8.0], "new": [2.0, 4.0, 8.0, 16.0]}
    assert trees.ratios_of(drifting) == [0.5] * 4
    assert trees.scattered(drifting) == {}
    assert trees.scattered({"old": [1.0, 1.2, 1.4], "new": [1.0] * 3}).keys() == {"old/new"}


def test_a_folder_without_skmlp_is_refused(load, tmp_path):
    checkout = load("trees").checkout
    assert checkout(str(ROOT)) == ROOT
    with pytest.raises(argparse.ArgumentTypeError, match="git worktree add"):
        checkout(str(tmp_path))


@pytest.mark.parametrize("command", ["fit", "small", "predict", "startup", "search"])
def test_commands_can_pit_trees_against_each_other(command, load, monkeypatch):
    """Every case that is compared is one that the command's module knows how to measure."""
    main = load("__main__")
    compared = []

    def compare(module, cases, unit, arguments, options):
        compared.append((module, list(cases), options))
        return load("report").Table("none", ["a"], [{"a": 1}])

    monkeypatch.setattr(load("trees"), "compare", compare)
    arguments = main.build_parser().parse_args([command, "--quick", "--against", str(ROOT)])
    main.COMMANDS[command].run(arguments)
    ((module, cases, options),) = compared
    assert cases
    # Nothing is measured: what makes the samplers is stubbed.
    subject = load(command)
    assert module == subject.__name__
    for name in ("peer_sampler", "call_sampler", "process_sampler", "search_sampler"):
        if hasattr(subject, name):
            monkeypatch.setattr(subject, name, lambda *_: "sampler")
    if command == "small":
        monkeypatch.setattr(
            subject, "CASES", dict.fromkeys(subject.CASES, lambda package: "sampler")
        )
    assert {subject.case_sampler(case, **options) for case in cases} == {"sampler"}
