r"""
2. Linear and logistic regression as networks
=============================================

Leave out the step, and a neuron puts out the sum itself: that is linear regression. Put a smooth
step in its place, and it is logistic regression. Both are networks without hidden layers, and here
they are shown to be equal to scikit-learn's.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import scale

from skmlp import MLPClassifier, MLPRegressor
from skmlp.activations import evaluate
from skmlp.inspection import NetworkDisplay

BLUE, ORANGE, GREY = "#3a7fb8", "#e07b27", "#8a8f98"

# %%
# Linear regression
# -----------------
#
# The output is :math:`\hat y = w^\top x + b`, and the best weights make the mean squared error
# small. A fit of the network goes downhill until a step gains next to nothing, so that last digits
# may differ from those of scikit-learn, which solves an equation. The data are 442 people with
# diabetes: ten measurements, and how far the illness had gone a year later.
diabetes = load_diabetes()
X, y = scale(diabetes.data), diabetes.target
assert X.shape == (442, 10)

network = MLPRegressor(
    hidden_layer_sizes=(), solver="lbfgs", alpha=0.0, tol=1e-10, max_iter=1000, random_state=0
)
network.fit(X, y)
linear = LinearRegression().fit(X, y)
difference = np.abs(network.coefs_[0][:, 0] - linear.coef_).max()
print(f"weights up to {np.abs(linear.coef_).max():.0f}, the largest difference {difference:.1e}")
assert difference < 1e-4 * np.abs(linear.coef_).max()
assert np.allclose(network.predict(X), linear.predict(X), rtol=1e-4)

NetworkDisplay.from_estimator(
    network, feature_names=diabetes.feature_names, output_names=["progression"]
)
plt.show()

# %%
# Orange lines are weights above zero, blue ones below; a wide line is a large weight. Drawn against
# scikit-learn's, all weights lie on the diagonal.
figure, axes = plt.subplots(figsize=(4.4, 4), layout="constrained")
axes.axline((0, 0), slope=1, color=GREY, linewidth=1)
axes.scatter(linear.coef_, network.coefs_[0][:, 0], color=BLUE, zorder=3)
axes.set(xlabel="weight in LinearRegression", ylabel="weight in the network")
axes.set_title("Ten weights, found in two ways")
plt.show()

# %%
# A line to draw: with one feature, the body mass index, it can be seen whole.
bmi = X[:, [2]]
network.fit(bmi, y)
figure, axes = plt.subplots(figsize=(5.6, 3.6), layout="constrained")
axes.scatter(bmi, y, s=10, color=GREY, alpha=0.6, linewidths=0)
ends = np.array([[bmi.min()], [bmi.max()]])
axes.plot(ends, network.predict(ends), color=ORANGE, linewidth=2)
axes.set(xlabel="body mass index, standardized", ylabel="progression of the illness")
plt.show()

# %%
# Logistic regression
# -------------------
#
# For yes and no the sum goes through the **logistic function**, which makes a probability of it:
#
# .. math:: p = \sigma(z) = \frac{1}{1 + e^{-z}}.
#
# Weights are chosen that make the observed classes as probable as possible: the loss is
# :math:`-\log p` where the answer is yes, and :math:`-\log(1 - p)` where it is no.
z = np.linspace(-6, 6, 301)
figure, axes = plt.subplots(figsize=(5.6, 3), layout="constrained")
axes.plot(z, evaluate("step", z)[0], "--", color=GREY, label="step: the perceptron")
axes.plot(z, evaluate("logistic", z)[0], color=BLUE, label="logistic function")
axes.set(xlabel="weighted sum z", ylabel="output", yticks=[0, 0.5, 1])
axes.legend(frameon=False)
plt.show()

# %%
# The data are 569 tumors, described by 30 numbers. ``alpha`` is a penalty on large weights;
# scikit-learn's ``C`` is one over it.
X, y = load_breast_cancer(return_X_y=True)
X = scale(X)
assert X.shape == (569, 30)
network = MLPClassifier(
    hidden_layer_sizes=(), solver="lbfgs", alpha=2.0, tol=1e-10, max_iter=1000, random_state=0
)
network.fit(X, y)
logistic = LogisticRegression(C=0.5, tol=1e-10, max_iter=5000).fit(X, y)
ours, theirs = network.predict_proba(X)[:, 1], logistic.predict_proba(X)[:, 1]
print(f"largest difference of the probabilities: {np.abs(ours - theirs).max():.1e}")
assert np.allclose(ours, theirs, atol=5e-4)
assert np.allclose(network.coefs_[0][:, 0], logistic.coef_[0], atol=2e-3)

# %%
# How sure is it? Most tumors get a probability near zero or one; the doubtful ones lie between.
z = X @ network.coefs_[0][:, 0] + network.intercepts_[0]
figure, axes = plt.subplots(figsize=(5.6, 3.2), layout="constrained")
line = np.linspace(z.min(), z.max(), 300)
axes.plot(line, evaluate("logistic", line)[0], color=GREY, zorder=1)
for label, color, marker in ((0, ORANGE, "o"), (1, BLUE, "s")):
    some = y == label
    name = ("malignant", "benign")[label]
    axes.scatter(z[some], ours[some], s=18, color=color, marker=marker, alpha=0.6, label=name)
axes.set(xlabel="weighted sum z", ylabel="probability of benign")
axes.legend(frameon=False)
plt.show()
doubtful = ((ours > 0.1) & (ours < 0.9)).sum()
print(f"{doubtful} of {len(y)} tumors have a probability between 0.1 and 0.9")

# %%
# What to take along
# ------------------
#
# - A network without hidden layers **is** linear or logistic regression.
# - What changes is the output (the sum, or a probability) and the loss that goes with it.
# - Both draw straight borders and flat surfaces: hidden layers are there for the rest.
#
# **Try**
#
# 1. Set ``alpha=7.0`` in the first network and compare it with ``Ridge(alpha=7.0)``.
# 2. Use ``loss="poisson"`` and find the model of `sklearn.linear_model` that it equals.
# 3. Leave out ``scale``. What does the fit say?
#
# Next: other functions in the place of the logistic one, in
# :ref:`sphx_glr_gallery_course_plot_03_activations.py`.
