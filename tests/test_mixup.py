"""Mixtures of samples: their shares and partners, and what a step makes of them."""

import numpy as np
import pytest
from engine_checks import head_of, make_layer, make_network, make_problem
from numpy.testing import assert_allclose
from scipy import stats

from skmlp import MLPClassifier, MLPRegressor
from skmlp.engines.cpu import CpuEngine
from skmlp.engines.reference import ReferenceEngine
from skmlp.network.losses import LOSSES
from skmlp.network.mixing import mixture
from skmlp.network.parameters import layout_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ROWS = np.array([5, 3, 8, 0, 2])


@pytest.mark.parametrize("concentration", [0.001, 0.2, 1.0, 3.0, 1e6])
def test_shares_have_the_beta_distribution(concentration):
    steps = range(1, 4001)
    shares = np.array([mixture(ROWS, 7, step, concentration)[0] for step in steps])
    assert shares.min() >= 0.0
    assert shares.max() <= 1.0
    # Not at the ends, near which doubles are few.
    for share in (1e-9, 0.01, 0.3, 0.4997, 0.5, 0.6, 0.95, 1 - 1e-9):
        expected = stats.beta(concentration, concentration).cdf(share)
        assert np.mean(shares <= share) == pytest.approx(expected, abs=0.03)


def test_partners_are_other_rows_each_once_and_differ_from_step_to_step():
    partners = [mixture(ROWS, 7, step, 1.0)[1] for step in range(1, 60)]
    assert all(sorted(others) == sorted(ROWS) for others in partners)
    assert all((others != ROWS).all() for others in partners)
    assert len({tuple(others) for others in partners}) == len(ROWS) - 1
    assert mixture(ROWS[:1], 7, 1, 1.0)[1].tolist() == [5]


@pytest.mark.parametrize("engine", [ReferenceEngine(), CpuEngine(1)], ids=["reference", "cpu"])
def test_a_step_takes_mixed_inputs_and_the_losses_of_both_targets(engine):
    """What a network without mixtures makes of inputs that are mixed by hand."""
    heads = [head_of(key, 3) for key in sorted(LOSSES)]
    plain = make_network(4, [make_layer("tanh", 6)], heads)
    mixed = make_network(4, plain.layers, heads, mixup=1.0)
    X, targets, weight = make_problem(plain, 11)
    parameters = 0.3 * np.random.default_rng(0).normal(size=layout_of(plain).size)
    rows = np.random.default_rng(1).permutation(11)[:9]

    def evaluate(network, X, targets, weight, rows=None, **key):
        data = engine.load(X, targets, weight, network, "float64")
        return engine.loss_and_gradient(network, data, parameters, 0.0, rows, **key)

    actual = evaluate(mixed, X, targets, weight, rows, seed=5, step=3)
    share, others = mixture(rows, 5, 3, 1.0)
    assert 0.1 < share < 0.9
    inputs = share * X[rows] + (1 - share) * X[others]
    total = weight[rows].sum()
    expected = 0.0, 0.0
    for part, whose in ((share, rows), (1 - share, others)):
        own = part * weight[whose]
        results = evaluate(plain, inputs, targets[whose], own)
        expected = [e + r * own.sum() / total for e, r in zip(expected, results, strict=True)]
    assert actual[0] == pytest.approx(expected[0], rel=1e-12)
    assert_allclose(actual[1], expected[1], rtol=1e-9, atol=1e-13)
    # A loss that is looked at mixes nothing.
    assert evaluate(mixed, X, targets, weight)[0] == evaluate(plain, X, targets, weight)[0]


def test_a_line_remains_a_line():
    """Where mixtures are as good samples as any, whoever learns from them learns the same."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3))
    options = {"hidden_layer_sizes": (), "mixup": 1.0, "random_state": 0, "batch_size": 50}
    options |= {"learning_rate_init": 0.05, "max_iter": 100, "n_iter_no_change": 1000, "alpha": 0.0}
    line = MLPRegressor(learning_rate="cosine", **options).fit(X, X @ [1.0, -2.0, 0.5] + 3.0)
    assert_allclose(line.coefs_[0].ravel(), [1.0, -2.0, 0.5], atol=0.05)
    assert line.intercepts_[0] == pytest.approx([3.0], abs=0.05)
    # Probabilities of classes that overlap nowhere are less extreme, and ranked the same.
    y = (X[:, 0] > 0).astype(int)
    plain, mixed = (
        MLPClassifier(**{**options, "mixup": mixup}).fit(X, y).predict_proba(X)[:, 1]
        for mixup in (0.0, 1.0)
    )
    assert np.abs(mixed - 0.5).mean() < np.abs(plain - 0.5).mean() - 0.05
    assert np.corrcoef(X[:, 0], mixed)[0, 1] > 0.9
