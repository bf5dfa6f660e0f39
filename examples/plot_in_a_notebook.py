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

X, y = make_moons(400, noise=0.2, random_state=0)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

# %%
# ``verbose=2`` shows how far a fit has come: a bar where rich is installed and something can be redrawn, as in a
# notebook, else a line each second.
model = MLPClassifier(
    (16, 16), learning_rate_init=0.01, max_iter=300, early_stopping=True, verbose=2, random_state=0
)
model.fit(X_train, y_train)

# %%
# The last line of a cell shows an estimator: as a box with its parameters, set ones first, which opens by a
# click.
model

# %%
# What came of it, epoch by epoch.
model.history_["loss"][:5]

# %%
# Pictures of scikit-learn's work with it.
figure, axes = plt.subplots(layout="constrained")
DecisionBoundaryDisplay.from_estimator(
    model, X, response_method="predict_proba", cmap="RdBu_r", alpha=0.7, ax=axes
)
axes.scatter(*X_test.T, c=y_test, cmap="RdBu_r", edgecolor="white")
axes.set_title(f"accuracy {model.score(X_test, y_test):.2f} on held-out points")
plt.show()
