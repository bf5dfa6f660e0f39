r"""
3. Activation functions and their derivatives
=============================================

What a neuron makes of its sum is called its **activation function** :math:`a = f(z)`. Networks
learn by asking how the output changes when a weight changes a little, so the derivative
:math:`f'(z)` matters as much as the value.
"""

import matplotlib.pyplot as plt
import numpy as np

from skmlp import MLPRegressor
from skmlp.activations import Logistic, evaluate

BLUE, ORANGE, GREY = "#3a7fb8", "#e07b27", "#8a8f98"

# %%
# Six that everybody should know
# ------------------------------
#
# `evaluate <skmlp.activations.evaluate>` gives value and derivative of any activation of the
# package, by its name. :ref:`sphx_glr_gallery_plot_activations.py` draws them all.
NAMES = ("step", "logistic", "tanh", "relu", "leaky_relu", "silu")
z = np.linspace(-4, 4, 801)
figure, panels = plt.subplots(2, 3, figsize=(9, 5), layout="constrained", sharex=True, sharey=True)
for axes, name in zip(panels.flat, NAMES, strict=True):
    value, derivative = evaluate(name, z)
    axes.axhline(0, color="0.85", linewidth=0.8)
    axes.axvline(0, color="0.85", linewidth=0.8)
    axes.plot(z, value, color=BLUE, label="value")
    axes.plot(z, derivative, "--", color=ORANGE, label="derivative")
    axes.set(title=name.replace("_", " "), ylim=(-1.3, 2.6))
for axes in panels[-1]:
    axes.set_xlabel("weighted sum z")
panels[0, 0].legend(loc="upper left", fontsize="small", frameon=False)
plt.show()

# %%
# - The **step** has no useful derivative: it is flat. What is drawn is a stand-in that the package
#   trains with.
# - **Logistic** and **tanh** are smooth steps. At both ends they are flat, too: a neuron there is
#   *saturated* and hardly learns.
# - **ReLU** lets positive sums through and stops the others. Its derivative is 1 or 0: nothing
#   fades, but a neuron whose sums are all negative does not learn at all. **Leaky ReLU** leaves a
#   small slope there, **SiLU** rounds the corner.
#
# Two of these derivatives can be had from the value, without new exponentials:
#
# .. math:: \sigma'(z) = \sigma(z)\,(1 - \sigma(z)), \qquad \tanh'(z) = 1 - \tanh^2(z).
value, derivative = evaluate("logistic", z)
assert np.allclose(derivative, value * (1 - value))
value, derivative = evaluate("tanh", z)
assert np.allclose(derivative, 1 - value**2)
for name in ("logistic", "tanh", "relu"):
    print(f"{name}: the largest slope is {evaluate(name, z)[1].max():.2f}")

# %%
# Is that really the derivative?
# ------------------------------
#
# A derivative says what a small step does: :math:`f'(z) \approx (f(z + h) - f(z - h)) / 2h`. Where
# a function has no corner, both agree.
h = 1e-5
for name in ("logistic", "tanh", "silu"):
    slope = (evaluate(name, z + h)[0] - evaluate(name, z - h)[0]) / (2 * h)
    error = np.abs(slope - evaluate(name, z)[1]).max()
    assert error < 1e-9
    print(f"{name:9} differences and derivative are at most {error:.0e} apart")

# %%
# Threshold and steepness
# -----------------------
#
# The logistic function with a threshold :math:`\theta` and a steepness :math:`s`,
#
# .. math:: f(z) = \frac{1}{1 + e^{-s (z - \theta)}},
#
# goes from nearly a line to nearly a step. It is `Logistic <skmlp.activations.Logistic>`.
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained", sharey=True)
styles = ((BLUE, "-"), (ORANGE, "--"), (GREY, "-."))
for slope, (color, line) in zip((0.5, 1, 5), styles, strict=True):
    left.plot(z, evaluate(Logistic(slope=slope), z)[0], line, color=color, label=f"{slope}")
for threshold, (color, line) in zip((-2, 0, 2), styles, strict=True):
    activation = Logistic(slope=2, threshold=threshold)
    right.plot(z, evaluate(activation, z)[0], line, color=color, label=f"{threshold}")
left.legend(title="steepness", frameon=False, fontsize="small")
right.legend(title="threshold", frameon=False, fontsize="small")
left.set(xlabel="weighted sum z", ylabel="output", title="Steepness")
right.set(xlabel="weighted sum z", title="Threshold, at steepness 2")
plt.show()

# %%
# Nothing is gained that weights could not do: a weight times :math:`s` makes a step steeper, and a
# bias of :math:`-s\,\theta` moves it. That is why networks learn weights and biases only.
moved = evaluate(Logistic(slope=2, threshold=1), z)[0]
assert np.allclose(moved, evaluate("logistic", 2 * z - 2)[0])

# %%
# What they do to a network
# -------------------------
#
# The same network, 15 hidden neurons, fits the same points with four activations. ReLU draws
# straight pieces with corners, the smooth ones smooth curves, the identity a line.
rng = np.random.default_rng(0)
x = np.sort(rng.uniform(-3, 3, 60))
y = np.sin(2 * x) + 0.1 * rng.normal(size=60)
line = np.linspace(-3.3, 3.3, 400)
figure, panels = plt.subplots(1, 4, figsize=(11, 2.9), layout="constrained", sharey=True)
for axes, name in zip(panels, ("identity", "relu", "tanh", "silu"), strict=True):
    model = MLPRegressor(
        hidden_layer_sizes=(15,),
        activation=name,
        solver="lbfgs",
        alpha=1e-3,
        max_iter=3000,
        random_state=0,
    )
    model.fit(x[:, np.newaxis], y)
    axes.scatter(x, y, s=10, color=GREY)
    axes.plot(line, model.predict(line[:, np.newaxis]), color=BLUE)
    axes.set(title=f"{name}: R² {model.score(x[:, np.newaxis], y):.2f}", xlabel="x")
panels[0].set_ylabel("y")
plt.show()

# %%
# What to take along
# ------------------
#
# - The activation makes a curve of a sum; its derivative decides whether a neuron can learn.
# - The slope of the logistic function is never above one quarter. In a deep network slopes are
#   multiplied: page 10 tells what comes of that.
# - ReLU is a good first choice, smooth relatives such as SiLU are good second ones.
#
# **Try**
#
# 1. Draw ``"gelu"``, ``"mish"`` and ``"softplus"`` over ReLU.
# 2. Where is the slope of tanh one half? Find it in the picture, then with `evaluate
#    <skmlp.activations.evaluate>`.
# 3. Fit the sine with 3 and with 100 neurons.
#
# Next: why all this is needed at all, in :ref:`sphx_glr_gallery_course_plot_04_bent_plane.py`.
