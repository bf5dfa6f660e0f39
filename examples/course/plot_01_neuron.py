r"""
1. The neuron
=============

A neuron weighs what comes in, adds it up, and says yes if the sum is large enough. With inputs
:math:`x_1, \ldots, x_n`, weights :math:`w_1, \ldots, w_n` and a threshold :math:`\theta` it puts
out

.. math::

   a = \begin{cases} 1 & \text{if } w_1 x_1 + \cdots + w_n x_n > \theta \\ 0 & \text{else.}
   \end{cases}

McCulloch and Pitts described it in 1943. Here we build gates of logic from it, let it learn as
Rosenblatt's perceptron did, and meet a problem that it cannot solve.
"""

import itertools

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_blobs

from skmlp import MLPClassifier
from skmlp.activations import evaluate

BLUE, ORANGE, GREY = "#3a7fb8", "#e07b27", "#8a8f98"

# %%
# Threshold and bias
# ------------------
#
# Instead of comparing the sum with :math:`\theta` we may subtract it and compare with zero. The
# number :math:`b = -\theta` is called the **bias**: :math:`z = w^\top x + b`, and the neuron says
# yes where :math:`z > 0`. The bias moves the step, the weight says to which side it goes up.
x = np.linspace(-4, 4, 401)
figure, axes = plt.subplots(figsize=(6.4, 3), layout="constrained")
for weight, bias, color, line in ((1, 0, GREY, ":"), (1, -2, BLUE, "-"), (-1, -2, ORANGE, "--")):
    output, _ = evaluate("step", weight * x + bias)
    axes.plot(x, output, line, color=color, label=f"weight {weight}, bias {bias}")
axes.set(xlabel="input", ylabel="output of the neuron", yticks=[0, 1], ylim=(-0.1, 1.5))
axes.legend(ncols=3, loc="upper center", fontsize="small", frameon=False)
plt.show()

# %%
# Gates of logic
# --------------
#
# With two inputs that are 0 or 1, the border between no and yes is a straight line. AND asks for
# both inputs, OR for one, NAND for anything but both: each is a choice of two weights and a bias.
CORNERS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
GATES = {"AND": (1, 1, -1.5), "OR": (1, 1, -0.5), "NAND": (-1, -1, 1.5)}
WANTED = {"AND": [0, 0, 0, 1], "OR": [0, 1, 1, 1], "NAND": [1, 1, 1, 0], "XOR": [0, 1, 1, 0]}

for gate, (w_1, w_2, bias) in GATES.items():
    output, _ = evaluate("step", CORNERS @ [w_1, w_2] + bias)
    assert output.tolist() == WANTED[gate]
    print(f"{gate:4}  weights {w_1:2}, {w_2:2}  bias {bias:4}  outputs {output.astype(int)}")

# %%
# Why XOR fails
# -------------
#
# "One or the other, but not both" has its two yes on one diagonal and its two no on the other. No
# straight line separates them. We try many neurons, and the best is right about three of four.
numbers = np.linspace(-2, 2, 41)
tried = np.array(list(itertools.product(numbers, numbers, numbers)))
says_yes = CORNERS @ tried[:, :2].T + tried[:, 2] > 0
right = (says_yes == np.array(WANTED["XOR"])[:, np.newaxis]).sum(axis=0)
assert right.max() == 3
print(f"XOR: of {len(tried):,} neurons the best is right about {right.max()} of 4 corners")

figure, panels = plt.subplots(1, 4, figsize=(10, 3), layout="constrained", sharey=True)
for axes, (gate, outputs) in zip(panels, WANTED.items(), strict=True):
    if gate in GATES:
        w_1, w_2, bias = GATES[gate]
        ends = np.array([-0.5, 1.5])
        axes.plot(ends, -(w_1 * ends + bias) / w_2, color="k", linewidth=1)
    for label, color, marker in ((0, BLUE, "o"), (1, ORANGE, "s")):
        some = CORNERS[np.array(outputs) == label]
        axes.scatter(*some.T, s=110, color=color, marker=marker, label=["no", "yes"][label])
    axes.set(xlim=(-0.5, 1.5), ylim=(-0.5, 1.5), xticks=[0, 1], yticks=[0, 1], aspect="equal")
    axes.set(xlabel="first input", title=gate if gate in GATES else f"{gate}: no line does it")
panels[0].set_ylabel("second input")
panels[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
plt.show()

# %%
# Learning: the perceptron rule
# -----------------------------
#
# Rosenblatt's perceptron (1958) finds weights by itself. It looks at one point after the other; if
# its answer is wrong, it moves its weights toward the point or away from it:
#
# .. math:: w \leftarrow w + (y - a)\, x, \qquad b \leftarrow b + (y - a).
#
# If a line exists that separates the classes, the rule finds one after finitely many errors.
X, y = make_blobs(60, centers=[[-1.5, -1], [1.5, 1]], cluster_std=0.8, random_state=19)
weights, bias = np.zeros(2), 0.0
lines, errors = [], []
for _ in range(30):
    errors.append(0)
    for point, label in zip(X, y, strict=True):
        answer = evaluate("step", weights @ point + bias)[0]
        if answer != label:
            weights = weights + (label - answer) * point
            bias += label - answer
            lines.append((weights.copy(), bias))
            errors[-1] += 1
    if errors[-1] == 0:
        break
print(f"errors in each round: {errors}")
assert errors[-1] == 0

figure, axes = plt.subplots(figsize=(5.6, 4), layout="constrained")
for label, color, marker in ((0, BLUE, "o"), (1, ORANGE, "s")):
    axes.scatter(*X[y == label].T, s=22, color=color, marker=marker, label=f"class {label}")
low, high = X.min(axis=0) - 0.5, X.max(axis=0) + 0.5
ends = np.linspace(low[0], high[0], 50)
for number, (w, b) in enumerate(lines, start=1):
    is_last = number == len(lines)
    style = {"color": "k", "linewidth": 1.8} if is_last else {"color": GREY, "linewidth": 0.7}
    label = "the last line" if is_last else "earlier lines" if number == 1 else None
    axes.plot(ends, -(w[0] * ends + b) / w[1], label=label, **style)
axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
axes.set(xlabel="feature 1", ylabel="feature 2", title="The line moves with every error")
axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
plt.show()

# %%
# The same neuron in this package is a network without hidden layers,
# ``MLPClassifier(hidden_layer_sizes=())``. It says yes where its sum is above zero, too, but learns
# by a smoother rule, which is the subject of the next page. It finds AND and OR, and of XOR it
# learns nothing at all: each corner gets the probability one half.
neuron = MLPClassifier(hidden_layer_sizes=(), solver="lbfgs", alpha=1e-3, random_state=0)
for gate in ("AND", "OR"):
    assert neuron.fit(CORNERS, WANTED[gate]).score(CORNERS, WANTED[gate]) == 1.0
probabilities = neuron.fit(CORNERS, WANTED["XOR"]).predict_proba(CORNERS)[:, 1]
assert np.allclose(probabilities, 0.5, atol=0.01)
print(f"XOR: probabilities of yes {probabilities.round(2)}")

# %%
# Two neurons and a third
# -----------------------
#
# XOR is "OR, but not AND". So one layer of two neurons computes OR and AND, and a third neuron
# subtracts the second from the first: a **multilayer perceptron**, with weights set by hand.
network = MLPClassifier((2,), activation="step", random_state=0)
network.partial_fit(CORNERS, WANTED["XOR"], classes=[0, 1])  # makes a network of this shape
network.coefs_ = [np.ones((2, 2)), np.array([[1.0], [-1.0]])]
network.intercepts_ = [np.array([-0.5, -1.5]), np.array([-0.5])]
assert network.predict(CORNERS).tolist() == WANTED["XOR"]
print(f"XOR by two neurons and a third: {network.predict(CORNERS)}")

# %%
# What to take along
# ------------------
#
# - A neuron is a weighted sum, a bias, and a decision. Its border is a straight line.
# - The perceptron rule finds such a line, if there is one.
# - For XOR there is none: it takes a second layer.
#
# **Try**
#
# 1. Find weights and a bias for "the first input, but not the second".
# 2. Move the two clouds of points together (``centers``) until they overlap. What becomes of the
#    errors in each round?
# 3. XOR is also "OR and NAND". Give the network these three neurons, and check what it predicts.
#
# Next: what a neuron without the step can do, in
# :ref:`sphx_glr_gallery_course_plot_02_linear_models.py`.
