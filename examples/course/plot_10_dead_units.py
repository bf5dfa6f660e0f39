r"""
10. Vanishing gradients and dead units
======================================

Deep networks can fail to learn without an error message. Two reasons are old friends: gradients
that fade on their way to the first layer, and neurons that have fallen asleep for good.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skmlp import MLPClassifier
from skmlp.inspection import ActivationsDisplay, LossCurveDisplay

BLUE, ORANGE, GREEN = "#3a7fb8", "#e07b27", "#3b9e77"

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)

# %%
# Gradients over depth
# --------------------
#
# On the way back each layer multiplies by the slope of its activation. That of the logistic
# function is at most one quarter; after ten layers that makes
print(f"0.25 ** 10 = {0.25**10:.1e}")

# %%
# We look at the first step of networks with ten hidden layers of 30 neurons. As on page 8, the
# gradient of a layer is what a step of plain descent changes, divided by the learning rate. The
# rate here is so small that the network stays where it was.


def gradient_norms(activation, init):
    """Return the norm of the gradient of each layer's weights, before anything was learned."""
    rate = 1e-6
    model = MLPClassifier(
        (30,) * 10,
        activation=activation,
        init=init,
        solver="sgd",
        momentum=0.0,
        alpha=0.0,
        batch_size=len(X_train),
        learning_rate_init=rate,
        random_state=0,
    )
    model.partial_fit(X_train, y_train, classes=np.unique(y))
    before = [each.copy() for each in model.coefs_]
    model.partial_fit(X_train, y_train)
    pairs = zip(before, model.coefs_, strict=True)
    return np.array([np.linalg.norm(a - b) / rate for a, b in pairs])


kinds = {
    "relu": ("relu", "he_normal", BLUE, "o"),
    "tanh": ("tanh", "glorot_uniform", GREEN, "^"),
    "logistic": ("logistic", "glorot_uniform", ORANGE, "s"),
}
figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
norms = {}
for name, (activation, init, color, marker) in kinds.items():
    norms[name] = gradient_norms(activation, init)
    axes.semilogy(range(1, 12), norms[name], marker=marker, color=color, label=name)
    print(f"{name:9} first layer {norms[name][0]:.0e}, last layer {norms[name][-1]:.0e}")
axes.set(xlabel="layer of weights, from the inputs on", ylabel="norm of its gradient")
axes.set(title="Ten hidden layers, before the first step", xticks=range(1, 12))
axes.legend(frameon=False)
plt.show()
assert norms["logistic"][0] < 1e-6 * norms["logistic"][-1]
assert norms["relu"][0] > 0.05 * norms["relu"][-1]

# %%
# Of the logistic network the first layers get next to nothing: they stay where chance has put them.
# The rectifier keeps its gradients, since its slope is one where it is not zero.
#
# What that means for learning
# ----------------------------
#
# The same number of epochs for both, at depths from one to six.
depths = (1, 2, 3, 4, 6)
figure, axes = plt.subplots(figsize=(5.8, 3.4), layout="constrained")
accuracy = {}
for name in ("relu", "logistic"):
    activation, init, color, marker = kinds[name]
    accuracy[name] = []
    for depth in depths:
        model = MLPClassifier((30,) * depth, activation=activation, init=init, random_state=0)
        model.set_params(solver="sgd", learning_rate_init=0.05, batch_size=32)
        for _ in range(25):
            model.partial_fit(X_train, y_train, classes=np.unique(y))
        accuracy[name].append(model.score(X_test, y_test))
    axes.plot(depths, accuracy[name], marker=marker, color=color, label=name)
    print(
        f"{name:9}",
        *(f"{depth}: {each:.2f}" for depth, each in zip(depths, accuracy[name], strict=True)),
    )
axes.axhline(0.1, color="0.6", linestyle=":", linewidth=1)
axes.text(1, 0.12, "guessing", color="0.4")
axes.set(xlabel="number of hidden layers", ylabel="accuracy on other digits", ylim=(0, 1.03))
axes.legend(frameon=False)
plt.show()
assert min(accuracy["relu"]) > 0.9
assert accuracy["logistic"][-1] < 0.3

# %%
# Dead units
# ----------
#
# The rectifier pays for this with another weakness. If one step is so large that the sums of a
# neuron become negative for **all** samples, its slope is zero for all of them. No gradient reaches
# it any more: it is dead. Large learning rates do that. ``monitor="dead_units"`` records the share
# of them.
fits = {}
for name, settings in {
    "rate 0.001": {"learning_rate_init": 0.001},
    "rate 0.03": {"learning_rate_init": 0.03},
    "rate 0.1": {"learning_rate_init": 0.1},
    "rate 0.1, leaky": {"learning_rate_init": 0.1, "activation": "leaky_relu"},
}.items():
    fits[name] = MLPClassifier((50, 50), monitor="dead_units", random_state=0, **settings)
    for _ in range(20):
        fits[name].partial_fit(X_train, y_train, classes=np.unique(y))
    dead = fits[name].history_["dead_units_1"][-1]
    print(f"{name:16} {dead:4.0%} of layer 2 dead", end=", ")
    print(f"accuracy {fits[name].score(X_test, y_test):.2f}")
assert fits["rate 0.1"].history_["dead_units_1"][-1] > 0.5
assert fits["rate 0.001"].history_["dead_units_1"][-1] < 0.3
assert fits["rate 0.1, leaky"].history_["dead_units_1"][-1] == 0

display = LossCurveDisplay.from_estimators(fits, what="dead_units_1")
display.ax_.set(ylabel="share of dead units, layer 2", ylim=(-0.03, 1.03), xticks=range(0, 21, 5))
plt.show()

# %%
# `ActivationsDisplay <skmlp.inspection.ActivationsDisplay>` shows what the units put out: dead ones
# have all their samples at zero.
ActivationsDisplay.from_estimator(fits["rate 0.03"], X_train)
plt.show()

# %%
# What to take along
# ------------------
#
# - Slopes are multiplied over the layers: with the logistic function gradients vanish, with
#   rectifiers they do not.
# - A rectifier can die. With a smaller learning rate fewer do, and ``"leaky_relu"`` cannot die.
# - When a network does not learn, look inside before you add layers: ``monitor``, ``dead_units``
#   and the displays are made for it.
#
# **Try**
#
# 1. Draw the gradients of ``("relu", "glorot_uniform")`` and of ``("selu", "lecun_normal")``.
# 2. Give the logistic network of six layers ``normalization="batch"``. Does it learn?
# 3. Use ``monitor=("dead_units", "saturated_units")`` with tanh and a large learning rate.
#
# Next: a network that works, in :ref:`sphx_glr_gallery_course_plot_11_digits.py`.
