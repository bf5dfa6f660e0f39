r"""
6. Losses and heads
===================

The last layer, the **head**, turns sums into an answer of the kind that is asked for: a
probability, one of several classes, several labels at once. The **loss** says how bad an answer is.
Head and loss belong together; the package chooses both by looking at ``y``.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import expit, softmax
from sklearn.datasets import load_iris, make_classification, make_multilabel_classification
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmlp import MLPClassifier
from skmlp.activations import evaluate

BLUE, ORANGE, GREY = "#3a7fb8", "#e07b27", "#8a8f98"

# %%
# Yes or no: one logistic output
# ------------------------------
#
# A single sum :math:`z` becomes the probability :math:`p = \sigma(z)`. The **log loss** is
# :math:`-\log p` if the answer is yes. Being sure and wrong is expensive; the squared error
# :math:`(1 - p)^2` never costs more than one, and the hinge loss looks at the sum itself.
z = np.linspace(-4, 4, 401)
p = expit(z)
figure, axes = plt.subplots(figsize=(5.8, 3.4), layout="constrained")
axes.plot(z, -np.log(p), color=BLUE, label="log loss")
axes.plot(z, (1 - p) ** 2, "--", color=ORANGE, label="squared error of p")
axes.plot(z, np.maximum(0, 1 - z), "-.", color=GREY, label="hinge loss")
axes.set(xlabel="sum z of the output, where the answer is yes", ylabel="loss")
axes.legend(frameon=False)
plt.show()

# %%
# Eight numbers about each of 768 made-up patients, layers of 12 and 8 neurons with ReLU, one
# logistic output, log loss, Adam: this network stands at the beginning of many a course. All of it
# but the sizes of the layers is what the package does anyway.
X, y = make_classification(768, n_features=8, n_informative=5, flip_y=0.1, random_state=3)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
network = MLPClassifier((12, 8), learning_rate_init=0.01, early_stopping=True, random_state=0)
model = make_pipeline(StandardScaler(), network).fit(X_train, y_train)
print(f"output {network.out_activation_!r}, {network.n_outputs_} unit", end=", ")
print(f"accuracy {model.score(X_test, y_test):.2f}")
assert (network.out_activation_, network.n_outputs_) == ("logistic", 1)

# %%
# One of several: softmax
# -----------------------
#
# For several classes there is a sum for each, and
#
# .. math:: p_k = \frac{e^{z_k}}{e^{z_1} + \cdots + e^{z_n}}
#
# makes probabilities of them that add up to one. Two sums that you may compare with your slides:
scores = [1.0, 2, 3, 4, 1, 2, 3]
print(f"softmax of {scores}:\n{evaluate('softmax', scores)[0].round(8)}")
expected = [0.02364054, 0.06426166, 0.1746813, 0.474833, 0.02364054, 0.06426166, 0.1746813]
assert np.allclose(evaluate("softmax", scores)[0], expected, atol=1e-7)

scores = np.array([-0.5, 1.2, 3, -2])
print(f"of {scores} the logistic function is {expit(scores).round(2)},")
print(f"each by itself, and the softmax {softmax(scores).round(2)}, which adds up to 1")
assert expit(scores).round(2).tolist() == [0.38, 0.77, 0.95, 0.12]
assert softmax(scores).round(2).tolist() == [0.03, 0.14, 0.83, 0.01]

# %%
# Temperature
# -----------
#
# Dividing all sums by a temperature :math:`T` leaves their order alone and changes how sure the
# answer is: below one it is surer, above one more doubtful.
figure, panels = plt.subplots(1, 3, figsize=(9, 2.9), layout="constrained", sharey=True)
for axes, temperature in zip(panels, (0.5, 1.0, 4.0), strict=True):
    shares = softmax(scores / temperature)
    bars = axes.bar(["A", "B", "C", "D"], shares, color=BLUE)
    axes.bar_label(bars, fmt="%.2f", fontsize="small")
    axes.set(title=f"temperature {temperature:g}", ylim=(0, 1.12), xlabel="class")
panels[0].set_ylabel("probability")
plt.show()

# %%
# In the package it is the parameter ``temperature``. With ``temperature="fit"`` a fit chooses it so
# that the probabilities suit samples that it was not trained on.
X, y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)
for temperature in (0.5, 1.0, 4.0):
    iris = MLPClassifier((8,), solver="lbfgs", alpha=0.1, temperature=temperature, random_state=0)
    iris.set_params(max_iter=1000).fit(X, y)
    surest = iris.predict_proba(X).max(axis=1).mean()
    print(f"temperature {temperature:3}: accuracy {iris.score(X, y):.2f}", end=", ")
    print(f"mean of the largest probability {surest:.2f}")
assert iris.out_activation_ == "softmax"

# %%
# Several labels at once: one logistic output each
# ------------------------------------------------
#
# A text can be about sports and about money. Then labels do not exclude each other: there is a
# logistic output for each, and probabilities need not add up to one. ``y`` has a column of zeros
# and ones for each label.
X, y = make_multilabel_classification(
    400, n_features=12, n_classes=4, n_labels=2, random_state=0, allow_unlabeled=False
)
labels = MLPClassifier((16,), solver="lbfgs", alpha=1.0, max_iter=2000, random_state=0)
model = make_pipeline(StandardScaler(), labels).fit(X[:300], y[:300])
shares = model.predict_proba(X[300:])
print(f"{y.shape[1]} labels, output {labels.out_activation_!r}", end=", ")
print(f"right about {(model.predict(X[300:]) == y[300:]).mean():.0%} of the labels")
assert labels.out_activation_ == "logistic"
assert np.ptp(shares.sum(axis=1)) > 0.5

figure, axes = plt.subplots(figsize=(6.4, 3), layout="constrained")
image = axes.imshow(shares[:16].T, cmap="Blues", vmin=0, vmax=1, aspect="auto")
rows, columns = np.nonzero(y[300:316])
axes.scatter(rows, columns, marker="o", facecolors="none", edgecolors=ORANGE, linewidths=1.6, s=70)
axes.set(xlabel="sample that it was not trained on", ylabel="label", yticks=range(4))
axes.set_title("Circles: labels that the sample has", fontsize="medium")
figure.colorbar(image, label="probability")
plt.show()

# %%
# Several questions at once: a softmax for each
# ---------------------------------------------
#
# Which species, and is the flower larger than most? If ``y`` has two columns of classes, the
# network gets two heads on common hidden layers.
X, species = load_iris(return_X_y=True)
size = np.where(X[:, 0] > np.median(X[:, 0]), "large", "small")
names = load_iris().target_names[species]
both = MLPClassifier((8,), solver="lbfgs", alpha=0.1, max_iter=1000, random_state=0)
both.fit(StandardScaler().fit_transform(X), np.column_stack([names, size]))
print([classes.tolist() for classes in both.classes_])
assert [len(classes) for classes in both.classes_] == [3, 2]

# %%
# What to take along
# ------------------
#
# ==================  ===========================  ==================
# question            head                         ``y``
# ==================  ===========================  ==================
# yes or no           one logistic output          two values
# one of several      softmax                      several values
# several labels      a logistic output for each   columns of 0 and 1
# several questions   a head for each              columns of classes
# how much            the sum itself               numbers (page 13)
# ==================  ===========================  ==================
#
# - The log loss punishes sure errors; softmax shares one unit of probability among the classes.
# - A temperature changes how sure an answer is, but not which one it is.
#
# **Try**
#
# 1. Fit ``iris`` with ``label_smoothing=0.2`` and look at the largest probability.
# 2. Fit the patients with ``loss="hinge"``. Which method is missing, and which takes its place?
# 3. Make one class rare, and compare ``class_weight=None`` with ``"balanced"``.
#
# Next: how weights are found that make the loss small, in
# :ref:`sphx_glr_gallery_course_plot_07_gradient_descent.py`.
