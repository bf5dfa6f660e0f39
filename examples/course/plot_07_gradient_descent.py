r"""
7. Gradient descent
===================

Weights are found by going downhill. The **gradient** of the loss says in which direction the loss
grows fastest; a step against it makes the loss smaller:

.. math:: w \leftarrow w - \eta\, \nabla L(w).

:math:`\eta` is the **learning rate**. With two weights only, the whole way can be drawn.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import scale

from skmlp import MLPRegressor
from skmlp.callbacks import FunctionCallback
from skmlp.inspection import LossCurveDisplay, LossSurfaceDisplay

BLUE, ORANGE, GREEN, PURPLE = "#3a7fb8", "#e07b27", "#3b9e77", "#b5609a"

# %%
# A surface of two weights
# ------------------------
#
# Linear regression with two features, body mass index and blood pressure, and a target of mean
# zero: the loss is half the mean squared error, and there is no bias to learn. The second feature
# is made three times smaller, which makes a narrow valley of a round bowl.
X, y = load_diabetes(return_X_y=True)
X, y = scale(X[:, [2, 3]]) * [1, 1 / 3], scale(y)


def loss_at(w_1, w_2):
    """Return the loss for two weights, or for arrays of them."""
    errors = np.multiply.outer(w_1, X[:, 0]) + np.multiply.outer(w_2, X[:, 1]) - y
    return (errors**2).mean(axis=-1) / 2


assert len(X) == 442
best = np.linalg.lstsq(X, y, rcond=None)[0]
print(f"best weights {best.round(2)}, loss {loss_at(*best):.3f}")
START = np.array([-0.8, -1.2])


def way(n_epochs, batch_size=442, **settings):
    """Return the weights of a network without hidden layers after each epoch, the start first."""
    model = MLPRegressor(
        hidden_layer_sizes=(),
        init=([START[:, np.newaxis]], [np.zeros(1)]),
        alpha=0.0,
        batch_size=batch_size,
        random_state=0,
        **settings,
    )
    visited = [START]
    for _ in range(n_epochs):
        model.partial_fit(X, y)
        visited.append(model.coefs_[0][:, 0].copy())
    return np.array(visited)


def draw_ways(ways, title):
    """Draw the surface from above, and ways on it."""
    axes = plt.subplots(figsize=(7.4, 4.4), layout="constrained")[1]
    w_1, w_2 = np.linspace(-1.1, 2, 120), np.linspace(-1.7, 2.6, 120)
    heights = loss_at(*np.meshgrid(w_1, w_2))
    levels = np.geomspace(loss_at(*best) * 1.01, heights.max(), 16)
    axes.contour(w_1, w_2, heights, levels=levels, colors="0.75", linewidths=0.8)
    markers = zip(ways.items(), (BLUE, ORANGE, GREEN, PURPLE), "os^D", strict=False)
    for (name, visited), color, marker in markers:
        axes.plot(*visited.T, color=color, marker=marker, markersize=3.5, linewidth=1.2, label=name)
    axes.plot(*best, "k*", markersize=13, label="best weights")
    axes.set(xlabel="weight of the body mass index", ylabel="weight of the blood pressure")
    axes.set(title=title, xlim=(w_1[0], w_1[-1]), ylim=(w_2[0], w_2[-1]))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    plt.show()


# %%
# The learning rate
# -----------------
#
# Plain descent uses all samples for each step. A small learning rate creeps, a larger one hurries;
# one that is too large jumps over the valley, from side to side.
plain = {"solver": "sgd", "momentum": 0.0}
rates = {
    f"learning rate {rate}": way(30, learning_rate_init=rate, **plain) for rate in (0.05, 0.5, 1.7)
}
draw_ways(rates, "Gradient descent, 30 steps")
for name, visited in rates.items():
    print(f"{name}: loss {loss_at(*visited[-1]):.3f}")

# %%
# How large is too large? The steepest curvature :math:`\lambda` of the surface decides: above
# :math:`2 / \lambda` every step ends higher than it began.
steepest = np.linalg.eigvalsh(X.T @ X / len(X)).max()
print(f"steps grow without end above a learning rate of {2 / steepest:.2f}")
too_far = way(30, learning_rate_init=2.1 / steepest, **plain)
assert loss_at(*too_far[-1]) > loss_at(*START)
assert loss_at(*way(30, learning_rate_init=1.9 / steepest, **plain)[-1]) < loss_at(*START)

# %%
# By hand
# -------
#
# Nothing else happens inside. For the squared error the gradient is
# :math:`X^\top (X w - y) / n`, and the same ten steps take two lines.
w = START
for _ in range(10):
    w = w - 0.5 * X.T @ (X @ w - y) / len(X)
# The network has a bias too, which stays where it is: X and y have mean zero.
assert np.allclose(w, rates["learning rate 0.5"][10], rtol=1e-6)
print(f"after ten steps by hand {w.round(4)}, by the network the same")

# %%
# Minibatches
# -----------
#
# A few samples say about the same as all of them, for a fraction of the work. Steps then are many
# and noisy: each dot here is a whole **epoch**, once through all samples.
minibatches = {
    f"batches of {size}": way(8, batch_size=size, learning_rate_init=0.1, **plain)
    for size in (len(X), 64, 8)
}
draw_ways(minibatches, "Eight epochs, learning rate 0.1")
for name, visited in minibatches.items():
    print(f"{name}: loss {loss_at(*visited[-1]):.3f}")

# %%
# Momentum and Adam
# -----------------
#
# **Momentum** keeps most of the last step and adds to it: it gathers speed along the valley.
# **Adam** divides each weight's step by the usual size of its gradient, so that flat directions get
# steps as long as steep ones.
solvers = {
    "plain descent": way(30, learning_rate_init=0.1, **plain),
    "momentum": way(30, solver="sgd", momentum=0.8, learning_rate_init=0.1),
    "Adam": way(30, solver="adam", learning_rate_init=0.2),
}
draw_ways(solvers, "Three solvers, 30 steps")
for name, visited in solvers.items():
    print(f"{name}: loss {loss_at(*visited[-1]):.3f}")
losses = [loss_at(*visited[-1]) for visited in solvers.values()]
assert losses[0] > max(losses[1:])

# %%
# On a real network
# -----------------
#
# With hidden layers there are hundreds of weights and no picture of all of them. One can cut
# through the surface: `LossSurfaceDisplay <skmlp.inspection.LossSurfaceDisplay>` lays a plane along
# the two directions in which a fit went furthest, and draws its way, here that of Adam. A callback
# keeps the network of each epoch.
X, y = load_diabetes(return_X_y=True)
X, y = scale(X), scale(y)
path = []
keep = FunctionCallback(lambda epoch: path.append(epoch.model()))
model = MLPRegressor(
    hidden_layer_sizes=(20,),
    learning_rate_init=0.005,
    max_iter=60,
    n_iter_no_change=float("inf"),
    random_state=0,
)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)  # sixty epochs are meant
    model.set_callbacks(keep).fit(X, y)
assert len(path) == 60
LossSurfaceDisplay.from_estimator(model, X, y, path=path)
plt.show()

# %%
# What always can be drawn is the loss over the epochs.
# `LossCurveDisplay <skmlp.inspection.LossCurveDisplay>` compares several fits.
fits = {}
for name, settings in {
    "plain descent": {"momentum": 0.0, "solver": "sgd"},
    "momentum": {"solver": "sgd"},
    "Adam": {"solver": "adam"},
}.items():
    fits[name] = MLPRegressor(
        hidden_layer_sizes=(20,), learning_rate_init=0.005, random_state=0, **settings
    )
    for _ in range(60):
        fits[name].partial_fit(X, y)
LossCurveDisplay.from_estimators(fits, what="loss")
plt.show()

# %%
# What to take along
# ------------------
#
# - The gradient points uphill; learning goes the other way, step by step.
# - The learning rate is the number to choose first. Too small is slow, too large never arrives.
# - Minibatches make steps cheap, momentum and Adam make them wise. Scale your features: it makes
#   round bowls of narrow valleys.
#
# **Try**
#
# 1. Leave out the factor 1/3. What does plain descent with a rate of 0.5 look like now?
# 2. Draw the ways of ``solver="rmsprop"`` and ``solver="lion"``.
# 3. Make Adam's learning rate ten times smaller after 20 epochs (``set_params``). Does it come
#    closer?
#
# Next: where gradients of deep networks come from, in
# :ref:`sphx_glr_gallery_course_plot_08_backpropagation.py`.
