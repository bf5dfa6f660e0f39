"""
In a notebook
=============

What a fit looks like where there are cells: its progress, the estimator, and pictures of it.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import make_moons
from sklearn.inspection import DecisionBoundaryDisplay
from sklearn.model_selection import train_test_split

from skmlp import MLPClassifier
from skmlp.inspection import LossCurveDisplay

X, y = make_moons(400, noise=0.2, random_state=0)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

# %%
# ``verbose=2`` shows how far a fit has come: a bar in a terminal, and in a notebook with
# ipywidgets, where rich is installed; else a line each second. The last line of a cell shows what
# it gives, here the fitted network: a box with its parameters that opens by a click, and its
# layers.
model = MLPClassifier(
    (16, 16),
    learning_rate_init=0.01,
    early_stopping=True,
    n_iter_no_change=30,
    verbose=2,
    random_state=0,
)
model.fit(X_train, y_train)

# %%
# What came of it, epoch by epoch, is in `history_`.
f"{model.n_iter_} epochs, the last loss {model.history_['loss'][-1]:.3f}"

# %%
# What draws scikit-learn's estimators draws these.
figure, axes = plt.subplots(layout="constrained")
DecisionBoundaryDisplay.from_estimator(
    model, X, response_method="predict_proba", cmap="RdBu_r", alpha=0.7, ax=axes
)
axes.scatter(*X_test.T, c=y_test, cmap="RdBu_r", edgecolor="white")
axes.set_title(f"accuracy {model.score(X_test, y_test):.2f} on held-out points")
plt.show()

# %%
# And networks have pictures of their own: here the losses and scores of all epochs.
LossCurveDisplay.from_estimator(model)
plt.show()
