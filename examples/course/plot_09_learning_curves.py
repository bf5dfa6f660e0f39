r"""
9. Learning curves, over- and underfitting
==========================================

A network may be too stiff for its data, or so flexible that it learns them by heart. Both can be
seen by looking at samples that it was **not** trained on. Then there are remedies: more data, a
penalty, dropout, and stopping in time.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from sklearn.datasets import make_moons
from sklearn.inspection import DecisionBoundaryDisplay
from sklearn.model_selection import LearningCurveDisplay, ShuffleSplit, train_test_split

from skmlp import MLPClassifier
from skmlp.inspection import LossCurveDisplay

BLUE, ORANGE, GREY = "#3a7fb8", "#e07b27", "#8a8f98"
BETWEEN = LinearSegmentedColormap.from_list("between", [BLUE, "white", ORANGE])

# %%
# Two moons that overlap: 60 points to learn from, 1000 others to judge by.
X, y = make_moons(1060, noise=0.3, random_state=0)
X_train, X_test, y_train, y_test = train_test_split(X, y, train_size=60, random_state=1)

# %%
# Too stiff, about right, too flexible
# ------------------------------------
settings = {"solver": "lbfgs", "activation": "tanh", "max_iter": 5000, "random_state": 0}
models = {
    "one neuron": MLPClassifier((1,), alpha=0.1, **settings),
    "ten neurons, a penalty": MLPClassifier((10,), alpha=0.1, **settings),
    "two layers of 50, none": MLPClassifier((50, 50), alpha=0.0, **settings),
}
figure, panels = plt.subplots(1, 3, figsize=(10.5, 3.7), layout="constrained", sharey=True)
scores = {}
for axes, (name, model) in zip(panels, models.items(), strict=True):
    model.fit(X_train, y_train)
    scores[name] = model.score(X_train, y_train), model.score(X_test, y_test)
    DecisionBoundaryDisplay.from_estimator(
        model, X_train, response_method="predict_proba", cmap=BETWEEN, vmin=0, vmax=1, ax=axes
    )
    for label, color, marker in ((0, BLUE, "o"), (1, ORANGE, "s")):
        some = X_train[y_train == label]
        axes.scatter(*some.T, s=22, color=color, marker=marker, edgecolor="white", linewidth=0.6)
    train, test = scores[name]
    axes.set_title(f"{name}\ntraining {train:.2f}, others {test:.2f}", fontsize="medium")
    axes.set_xlabel("feature 1")
panels[0].set_ylabel("feature 2")
plt.show()

# %%
# The flexible network knows every training point, and is worse about others than the one in the
# middle: it has learned the noise. That is **overfitting**. The single neuron is wrong about both:
# that is **underfitting**.
(_, stiff), (_, right), (by_heart, flexible) = scores.values()
assert by_heart == 1.0
assert right > max(stiff, flexible)

# %%
# The loss over the epochs
# ------------------------
#
# One sees it coming by the loss of samples that are held out. ``fit`` takes them as ``X_val`` and
# ``y_val``, and ``scoring="loss"`` watches their loss. Here the fit goes on for 200 epochs after
# the best one, and keeps its last weights, so that we see what happens.
watched = {
    "hidden_layer_sizes": (50, 50),
    "learning_rate_init": 0.003,
    "alpha": 0.0,
    "early_stopping": True,
    "scoring": "loss",
    "n_iter_no_change": 200,
    "max_iter": 3000,
    "random_state": 0,
}
plain = MLPClassifier(**watched, restore_best=False)
plain.fit(X_train, y_train, X_val=X_test, y_val=y_test)
best_epoch = int(np.argmin(plain.validation_loss_curve_)) + 1
print(f"the loss of the others is smallest after {best_epoch} of {plain.n_iter_} epochs")

display = LossCurveDisplay.from_estimator(plain, what=("loss", "validation_loss"))
display.ax_.axvline(best_epoch, color=GREY, linestyle=":", linewidth=1)
display.ax_.text(best_epoch + 3, display.ax_.get_ylim()[0] + 0.02, "stop here", color=GREY)
plt.show()

# %%
# Remedies
# --------
#
# **Early stopping** ends with the weights of the dotted line. **Dropout** leaves out half of the
# neurons in each step, at random, so that none can rely on a few others. A **penalty** ``alpha``
# keeps weights small.
remedies = {
    "nothing": plain,
    "dropout": MLPClassifier(**watched, restore_best=False, dropout=0.5),
    "penalty": MLPClassifier(**{**watched, "alpha": 2.0}, restore_best=False),
    "early stopping": MLPClassifier(**watched),
}
losses = {}
for name, model in remedies.items():
    model.fit(X_train, y_train, X_val=X_test, y_val=y_test)
    p = model.predict_proba(X_test)[np.arange(len(y_test)), y_test]
    losses[name] = -np.log(p).mean()
    print(f"{name:15} loss of the others at the end {losses[name]:.3f}")
assert all(losses[name] < losses["nothing"] for name in remedies if name != "nothing")

some = {name: remedies[name] for name in ("nothing", "dropout", "penalty")}
LossCurveDisplay.from_estimators(some, what="validation_loss")
plt.show()

# %%
# In earnest the samples that decide when to stop must not be those that you judge by: hold out a
# part of the training data (``early_stopping=True`` does so by itself) and keep the test data
# apart.
#
# More data
# ---------
#
# The best remedy, where it can be had. `sklearn.model_selection.LearningCurveDisplay` fits the
# flexible network to more and more samples: what it learns by heart becomes less, and what it knows
# more.
model = MLPClassifier((50, 50), learning_rate_init=0.01, alpha=0.0, max_iter=400, random_state=0)
model.set_params(tol=1e-3)
figure, axes = plt.subplots(figsize=(5.8, 3.6), layout="constrained")
display = LearningCurveDisplay.from_estimator(
    model,
    *(X, y),
    train_sizes=[30, 60, 120, 250, 500],
    cv=ShuffleSplit(3, test_size=0.4, random_state=0),
    score_type="both",
    ax=axes,
)
for line, color in zip(display.lines_, (BLUE, ORANGE), strict=True):
    line.set_color(color)
for band, color in zip(display.fill_between_, (BLUE, ORANGE), strict=True):
    band.set_color(color)
    band.set_alpha(0.25)
display.lines_[0].set_label("training samples")
display.lines_[1].set_label("other samples")
axes.legend(frameon=False)
axes.set(xlabel="number of training samples", ylabel="accuracy")
axes.set_xticks(display.train_sizes, display.train_sizes)
axes.minorticks_off()
plt.show()
gaps = (display.train_scores - display.test_scores).mean(axis=1)
print(f"distance of the curves: {gaps[0]:.2f} with 30 samples, {gaps[-1]:.2f} with 500")
assert gaps[-1] < gaps[0]

# %%
# What to take along
# ------------------
#
# - Judge a network by samples that it has not seen.
# - Training loss falls, validation loss rises: overfitting. Both stay high: underfitting.
# - Early stopping, dropout, a penalty and more data help against the former; more neurons and more
#   epochs against the latter.
#
# **Try**
#
# 1. Which ``alpha`` suits the two layers of 50? Try five of them, each ten times the one before.
# 2. Set ``dropout=0.9``. Is that over- or underfitting?
# 3. Turn a fifth of the training labels around, and draw the loss curves again.
#
# Next: when a network does not learn at all, in
# :ref:`sphx_glr_gallery_course_plot_10_dead_units.py`.
