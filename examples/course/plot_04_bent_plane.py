r"""
4. Why layers need something that is not linear
===============================================

Layers are stacked because one is not enough. But a stack of sums is a sum again: it is the
activation between layers that bends the plane, until a straight line can do what it could not.
Here you see it happen.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from sklearn.datasets import make_moons
from sklearn.inspection import DecisionBoundaryDisplay

from skmlp import MLPClassifier
from skmlp.inspection import HiddenSpaceDisplay

BLUE, ORANGE, GREY = "#3a7fb8", "#e07b27", "#8a8f98"
BETWEEN = LinearSegmentedColormap.from_list("between", [BLUE, "white", ORANGE])

# %%
# A valley and what lies in it
# ----------------------------
#
# Points of one class lie along the slopes of a valley, those of the other above its bottom. As with
# exclusive or, no straight line lies between them.
rng = np.random.default_rng(1)
along = np.tile(np.linspace(-1.5, 1.5, 80), 2)
y = np.repeat([0, 1], 80)
X = np.column_stack([along, 1.1 * along**2 - 1.5 + 1.1 * y]) + 0.07 * rng.normal(size=(160, 2))

# %%
# Two layers without bends
# ------------------------
#
# With the activation "identity" a hidden layer computes :math:`h = X W_1 + b_1` and the next one
# :math:`h\, w_2 + b_2`. Multiplied out, that is :math:`X (W_1 w_2) + (b_1 w_2 + b_2)`: one neuron.
settings = {"solver": "lbfgs", "alpha": 0.1, "max_iter": 2000, "random_state": 2}
flat = MLPClassifier((2,), activation="identity", **settings).fit(X, y)
one_matrix = flat.coefs_[0] @ flat.coefs_[1]
one_bias = flat.intercepts_[0] @ flat.coefs_[1] + flat.intercepts_[1]
by_one_neuron = 1 / (1 + np.exp(-(X @ one_matrix + one_bias)[:, 0]))
assert np.allclose(by_one_neuron, flat.predict_proba(X)[:, 1])
print(f"without an activation: accuracy {flat.score(X, y):.2f}")

bent = MLPClassifier((2,), activation="tanh", **settings).fit(X, y)
assert bent.score(X, y) == 1.0
print(f"with tanh:             accuracy {bent.score(X, y):.2f}")

# %%
# The plane, bent
# ---------------
#
# Each point has two numbers before the hidden layer, and two after it: what its neurons put out.
# So the layer moves every point of the plane to another place, and we can draw where to. Grid lines
# are points, too. The first time we do it by hand, in three steps: the data; the weighted sums,
# which stretch, turn and shift the grid but keep its lines straight; and what tanh makes of these.
W, b = bent.coefs_[0], bent.intercepts_[0]
steps = {
    "data": lambda points: points,
    "weighted sums": lambda points: points @ W + b,
    "after tanh": lambda points: np.tanh(points @ W + b),
}
grid = []
for place in np.linspace(-2, 2.5, 13):
    way, same = np.linspace(-2, 2.5, 100), np.full(100, place)
    grid += [np.column_stack([way, same]), np.column_stack([same, way])]

figure, panels = plt.subplots(1, 3, figsize=(10.5, 3.7), layout="constrained")
for axes, (title, moved) in zip(panels, steps.items(), strict=True):
    for line in grid:
        axes.plot(*moved(line).T, color=GREY, linewidth=0.6, alpha=0.7)
    for label, color, marker in ((0, BLUE, "o"), (1, ORANGE, "s")):
        some = moved(X[y == label])
        axes.scatter(*some.T, s=14, color=color, marker=marker, label=f"class {label}", zorder=3)
    is_data = title == "data"
    axes.set(title=title, xlabel="feature 1" if is_data else "neuron 1")
    axes.set_ylabel("feature 2" if is_data else "neuron 2")
# The output neuron says yes where its own sum is above zero: a straight line, at last.
(v_1, v_2), c = bent.coefs_[1][:, 0], bent.intercepts_[1][0]
ends = np.array([-1.1, 1.1])
panels[2].plot(ends, -(v_1 * ends + c) / v_2, color="k", label="border")
panels[2].set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15))
panels[2].legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
plt.show()

# %%
# The layer has bent the valley so far that a single line lies between the classes. Seen from the
# data, that line is the curved border on the right below.
figure, panels = plt.subplots(1, 2, figsize=(8, 3.7), layout="constrained", sharey=True)
for axes, model, title in zip(panels, (flat, bent), ("identity", "tanh"), strict=True):
    DecisionBoundaryDisplay.from_estimator(
        model, X, response_method="predict_proba", cmap=BETWEEN, alpha=0.5, ax=axes, vmin=0, vmax=1
    )
    for label, color, marker in ((0, BLUE, "o"), (1, ORANGE, "s")):
        some = X[y == label]
        axes.scatter(*some.T, s=14, color=color, marker=marker, edgecolor="white", linewidth=0.4)
    axes.set(title=f"{title}: accuracy {model.score(X, y):.2f}", xlabel="feature 1")
panels[0].set_ylabel("feature 2")
plt.show()

# %%
# Layer by layer
# --------------
#
# `HiddenSpaceDisplay <skmlp.inspection.HiddenSpaceDisplay>` draws the same for any network, one
# picture for each layer. Two moons are harder than a valley: here three layers of two neurons
# take turns at it.
X, y = make_moons(200, noise=0.08, random_state=0)
deep = MLPClassifier(
    (2, 2, 2), activation="tanh", **{**settings, "alpha": 0.001, "random_state": 0}
).fit(X, y)
assert deep.score(X, y) == 1.0
print(f"three layers of two neurons: accuracy {deep.score(X, y):.2f}")
HiddenSpaceDisplay.from_estimator(deep, X, y)
plt.show()

# %%
# Wider layers have more directions to bend in, and need fewer turns. Of eight neurons the display
# draws the two directions in which the points lie furthest apart.
wide = MLPClassifier((8,), activation="tanh", **settings).fit(X, y)
print(f"one layer of eight neurons:  accuracy {wide.score(X, y):.2f}")
assert wide.score(X, y) == 1.0
HiddenSpaceDisplay.from_estimator(wide, X, y)
plt.show()

# %%
# What to take along
# ------------------
#
# - Without an activation, any stack of layers is worth one neuron.
# - A hidden layer moves all points: stretch, turn, shift, and then bend.
# - The last layer only draws a straight line, through a plane that the others have prepared.
#
# **Try**
#
# 1. Set ``activation="relu"`` in ``bent``. What do the bent grid lines look like now?
# 2. Try other numbers as ``random_state``: not all starts find the way with only two neurons.
# 3. Draw `sklearn.datasets.make_circles`: how many neurons does a circle need?
#
# Next: the numbers behind it, by hand, in :ref:`sphx_glr_gallery_course_plot_05_forward_pass.py`.
