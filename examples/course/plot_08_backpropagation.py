r"""
8. Back-propagation, checked by differences
===========================================

Descent needs the derivative of the loss by every weight. Back-propagation computes all of them in
one pass from the end of the network to its beginning: the chain rule, with nothing computed twice.
We write it down, and believe it only after two checks.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_moons

from skmlp import MLPClassifier

BLUE, ORANGE, GREY = "#3a7fb8", "#e07b27", "#8a8f98"

# %%
# The network
# -----------
#
# Two inputs, hidden layers of four and three neurons with tanh, one logistic output, log loss.
X, y = make_moons(50, noise=0.1, random_state=0)
SETTINGS = {"activation": "tanh", "solver": "sgd", "momentum": 0.0, "alpha": 0.0}
model = MLPClassifier((4, 3), batch_size=len(X), random_state=0, **SETTINGS)
model.partial_fit(X, y, classes=[0, 1])
coefs, intercepts = model.coefs_, model.intercepts_

# %%
# Forward: keep what every layer puts out
# ---------------------------------------
#
# .. math:: h_k = \tanh(h_{k-1} W_k + b_k), \qquad p = \sigma(h_2 W_3 + b_3),
#
# .. math:: L = -\frac{1}{n} \sum \bigl( y \log p + (1 - y) \log (1 - p) \bigr).


def forward(coefs, intercepts):
    """Return the outputs of all layers, the inputs first, and the mean loss."""
    outputs = [X]
    for W, b in zip(coefs[:-1], intercepts[:-1], strict=True):
        outputs.append(np.tanh(outputs[-1] @ W + b))
    z = (outputs[-1] @ coefs[-1] + intercepts[-1])[:, 0]
    outputs.append(1 / (1 + np.exp(-z))[:, np.newaxis])
    p = outputs[-1][:, 0]
    return outputs, -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))


# %%
# Backward: pass the error on
# ---------------------------
#
# Call :math:`\delta_k` the derivative of the loss by the sums of layer :math:`k`. At the end it is
# simply the error, for logistic output and log loss fit each other:
#
# .. math:: \delta_3 = \frac{p - y}{n}.
#
# Each layer passes it on to the one before, through its weights and the slope of the activation,
# and gets its own gradients from it:
#
# .. math:: \delta_{k-1} = (\delta_k W_k^\top) \odot f'(z_{k-1}), \qquad
#    \frac{\partial L}{\partial W_k} = h_{k-1}^\top \delta_k, \qquad
#    \frac{\partial L}{\partial b_k} = \sum \delta_k.


def backward(outputs, coefs):
    """Return the gradients by all weights and biases."""
    delta = (outputs[-1] - y[:, np.newaxis]) / len(y)
    by_coefs, by_intercepts = [], []
    for layer in reversed(range(len(coefs))):
        by_coefs.insert(0, outputs[layer].T @ delta)
        by_intercepts.insert(0, delta.sum(axis=0))
        if layer > 0:
            slope = 1 - outputs[layer] ** 2  # of tanh, from its value
            delta = (delta @ coefs[layer].T) * slope
    return by_coefs, by_intercepts


outputs, loss = forward(coefs, intercepts)
by_coefs, by_intercepts = backward(outputs, coefs)
print(f"loss {loss:.4f}; gradients of shapes {[each.shape for each in by_coefs]}")

# %%
# First check: differences
# ------------------------
#
# A derivative says what happens to the loss if one weight moves a little. So move it:
#
# .. math:: \frac{\partial L}{\partial w} \approx \frac{L(w + h) - L(w - h)}{2h}.
#
# That takes two forward passes for each weight, which is why nobody trains that way.


def by_differences(h):
    """Return the gradients by all weights of all layers, each by two forward passes."""
    found = []
    for layer, W in enumerate(coefs):
        gradient = np.empty_like(W)
        for place in np.ndindex(W.shape):
            losses = []
            for step in (h, -h):
                moved = [each.copy() for each in coefs]
                moved[layer][place] += step
                losses.append(forward(moved, intercepts)[1])
            gradient[place] = (losses[0] - losses[1]) / (2 * h)
        found.append(gradient)
    return found


numerical = by_differences(1e-5)
largest = max(np.abs(a - b).max() for a, b in zip(by_coefs, numerical, strict=True))
print(f"back-propagation and differences are at most {largest:.0e} apart")
assert largest < 1e-9

figure, axes = plt.subplots(figsize=(4.8, 4.2), layout="constrained")
axes.axline((0, 0), slope=1, color=GREY, linewidth=1)
names = ("first layer", "second layer", "output layer")
marks = zip(names, (BLUE, ORANGE, "#3b9e77"), "os^", by_coefs, numerical, strict=True)
for name, color, marker, ours, theirs in marks:
    axes.scatter(theirs.ravel(), ours.ravel(), color=color, marker=marker, label=name, zorder=3)
axes.set(xlabel="gradient by differences", ylabel="gradient by back-propagation")
axes.legend(title="weights of the", frameon=False)
plt.show()

# %%
# How small should the step be?
# -----------------------------
#
# With a large step the curve of the loss is in the way; with a tiny one the loss changes by less
# than the digits of the computer can tell. The best lies between, and even there only about ten
# digits are right: differences are good for checks.
steps = 10.0 ** np.arange(-12, 0)
errors = []
for h in steps:
    pairs = zip(by_coefs, by_differences(h), strict=True)
    errors.append(max(np.abs(a - b).max() for a, b in pairs))
best = steps[np.argmin(errors)]
assert 1e-7 < best < 1e-3
print(f"differences are best with a step of {best:.0e}: at most {min(errors):.0e} off")

figure, axes = plt.subplots(figsize=(5.8, 3.4), layout="constrained")
axes.loglog(steps, errors, "o-", color=BLUE)
axes.text(1e-12, 2e-9, "too few digits", color=GREY)
axes.text(2e-4, 1e-9, "too far away", color=GREY)
axes.set(xlabel="step h", ylabel="largest difference of a gradient")
plt.show()

# %%
# Second check: a step of the package
# -----------------------------------
#
# Plain descent with one batch moves the weights by the learning rate times the gradient. So the way
# that a step has gone, divided by the rate, is the gradient that the package has computed.
before = [each.copy() for each in model.coefs_]
model.partial_fit(X, y)
rate = model.learning_rate_init
steps_taken = [(a - b) / rate for a, b in zip(before, model.coefs_, strict=True)]
largest = max(np.abs(a - b).max() for a, b in zip(by_coefs, steps_taken, strict=True))
print(f"our gradients and those of the package are at most {largest:.0e} apart")
assert largest < 1e-9

# %%
# What to take along
# ------------------
#
# - One pass forward keeps the outputs, one pass backward gives **all** gradients: one product of
#   matrices for each layer on the way forward, two on the way back, however many weights there are.
# - Errors flow back through the same weights, times the slopes of the activations.
# - Whoever writes gradients checks them by differences. This package does so for every activation
#   and loss that it has.
#
# **Try**
#
# 1. Replace tanh by the logistic function, in all three places. Do the checks still pass?
# 2. Forget the factor ``slope`` on purpose. Which gradients are still right, and why?
# 3. How many forward passes would differences take for a network of a million weights?
#
# Next: what happens over many steps, in :ref:`sphx_glr_gallery_course_plot_09_learning_curves.py`.
