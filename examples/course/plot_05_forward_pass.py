r"""
5. The forward pass by hand
===========================

How does a network get from its inputs to its answer? By a matrix product, an activation, and so on,
layer after layer. Here is the smallest case that shows everything, first with pencil and paper:
two inputs, two hidden nodes, one output, and all weights one.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import expit
from sklearn.datasets import load_digits

from skmlp import LayerTransformer, MLPClassifier, MLPRegressor
from skmlp.activations import evaluate
from skmlp.inspection import NetworkDisplay

# %%
# One neuron first
# ----------------
#
# Three inputs, three weights: multiply, add up, and apply the activation.
#
# .. math:: 20 \cdot 0.1 + 0.5 \cdot (-4) + 0.1 \cdot 10 = 2 - 2 + 1 = 1
inputs, weights = np.array([20, 0.5, 0.1]), np.array([0.1, -4, 10])
z = inputs @ weights
assert np.isclose(z, 1)
print(f"weighted sum {z:.0f}; linear unit {evaluate('identity', z)[0]:.0f}", end="; ")
print(f"logistic unit {evaluate('logistic', z)[0]:.2f}")
assert round(float(expit(z)), 2) == 0.73

# %%
# A layer is a matrix
# -------------------
#
# A layer has many neurons that see the same inputs. We write the weights of each neuron as a column
# of a matrix :math:`W`, and the inputs as a row :math:`x`. Then one product computes all sums:
#
# .. math::
#
#    x\, W_1 = \begin{pmatrix} 1 & 2 \end{pmatrix}
#    \begin{pmatrix} 1 & 1 \\ 1 & 1 \end{pmatrix} = \begin{pmatrix} 3 & 3 \end{pmatrix},
#    \qquad
#    h\, W_2 = \begin{pmatrix} 3 & 3 \end{pmatrix}
#    \begin{pmatrix} 1 \\ 1 \end{pmatrix} = 6.
#
# With all weights one, both hidden nodes see the sum of the inputs.
x = np.array([[1.0, 2.0]])
W_1, W_2 = np.ones((2, 2)), np.ones((2, 1))
hidden = x @ W_1
output = hidden @ W_2
print(f"hidden values {hidden[0]}, output {output[0]}")
assert hidden.tolist() == [[3, 3]]
assert output.tolist() == [[6]]

# %%
# The same as a network of the package: weights are in ``coefs_``, biases in ``intercepts_``. One
# call of ``partial_fit`` makes a network of this shape, whose weights we replace.
model = MLPRegressor(hidden_layer_sizes=(2,), activation="identity", random_state=0)
model.partial_fit(x, [0.0])
model.coefs_ = [W_1, W_2]
model.intercepts_ = [np.zeros(2), np.zeros(1)]
assert model.predict(x).tolist() == [6]

NetworkDisplay.from_estimator(model, x, feature_names=["1", "2"], output_names=["output"])
plt.show()

# %%
# The picture shows the sample as it flows: circles have the color of what a node puts out, and
# lines are as wide as what goes through them. The second input sends twice as much as the first.
#
# With an activation
# ------------------
#
# Put the logistic function between both products. Each hidden node puts out
# :math:`\sigma(3) = 0.95`, and the output is their sum.
model = MLPRegressor(hidden_layer_sizes=(2,), activation="logistic", random_state=0)
model.partial_fit(x, [0.0])
model.coefs_, model.intercepts_ = [W_1, W_2], [np.zeros(2), np.zeros(1)]
by_hand = expit(x @ W_1) @ W_2
print(f"hidden values {expit(x @ W_1)[0].round(2)}, output {by_hand[0, 0]:.2f}")
assert np.isclose(model.predict(x)[0], by_hand[0, 0])
assert round(float(expit(3)), 2) == 0.95

# %%
# Many rows at once
# -----------------
#
# A table of samples is a matrix with one row for each. The same product serves all of them, which
# is why networks are fast on machines that are good at matrices. A forward pass through any number
# of layers is a loop of three lines.


def forward(X, coefs, intercepts, activation):
    """Return what each layer puts out; the last one its sums."""
    outputs = [X]
    for W, b in zip(coefs[:-1], intercepts[:-1], strict=True):
        outputs.append(evaluate(activation, outputs[-1] @ W + b)[0])
    return [*outputs, outputs[-1] @ coefs[-1] + intercepts[-1]]


# %%
# We check it on a network that has learned to read digits: 64 grey values, hidden layers of 12 and
# 6 neurons, and ten outputs.
X, y = load_digits(return_X_y=True)
X = X / 16
reader = MLPClassifier((12, 6), activation="tanh", solver="lbfgs", max_iter=2000, random_state=0)
reader.fit(X, y)
layers = forward(X, reader.coefs_, reader.intercepts_, "tanh")
print("shapes:", " -> ".join(str(each.shape) for each in layers))
assert np.array_equal(layers[-1].argmax(axis=1), reader.predict(X))

# %%
# `LayerTransformer <skmlp.LayerTransformer>` gives the values of a hidden layer without a loop.
# They are the ones computed here.
for number in (0, 1):
    values = LayerTransformer(reader, layer=number).fit(X, y).transform(X)
    assert np.allclose(values, layers[number + 1])

figure, panels = plt.subplots(
    1, 4, figsize=(10, 2.9), layout="constrained", width_ratios=(2, 1, 1, 1)
)
panels[0].imshow(X[0].reshape(8, 8), cmap="gray_r")
panels[0].set(title=f"input: a {y[0]}", xticks=[], yticks=[])
titles = ("hidden layer 1", "hidden layer 2", "sums of the output")
for axes, values, title in zip(panels[1:], layers[1:], titles, strict=True):
    limit = np.abs(values[0]).max()
    axes.barh(np.arange(len(values[0])), values[0], color="#3a7fb8")
    axes.axvline(0, color="k", linewidth=0.6)
    axes.set(title=title, xlim=(-1.1 * limit, 1.1 * limit), xlabel="value")
    axes.invert_yaxis()
panels[1].set_ylabel("neuron")
panels[3].set(ylabel="digit", yticks=range(10))
plt.show()
assert layers[-1][0].argmax() == y[0]

# %%
# The largest of the ten sums is that of the right digit. How sums become probabilities is told on
# the next page.
#
# What to take along
# ------------------
#
# - A layer is a matrix product, a bias, and an activation; a network is a chain of layers.
# - Rows are samples, columns of ``coefs_[k]`` are neurons.
# - Nothing is hidden: with `coefs_` and `intercepts_` you can compute every prediction yourself.
#
# **Try**
#
# 1. Give the second hidden node the weights -1 and compute the output with pencil and paper.
# 2. Set all weights one in a network with three hidden layers of two nodes. What does it put out
#    for (1, 2)? Which power of two do you meet?
# 3. Compute how many weights and biases ``reader`` has, and compare with ``reader.summary()``.
#
# Next: losses and what stands at the end of a network, in
# :ref:`sphx_glr_gallery_course_plot_06_losses_and_heads.py`.
