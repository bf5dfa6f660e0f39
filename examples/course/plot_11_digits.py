r"""
11. Handwritten digits
======================

The classic: pictures of digits go in, ten probabilities come out. We train the network that
textbooks train, and look at what its first layer has learned, which digits it confuses, and which
ones it doubts.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import train_test_split

from skmlp import MLPClassifier
from skmlp.inspection import LossCurveDisplay, NetworkDisplay, WeightsDisplay

BLUE, ORANGE = "#3a7fb8", "#e07b27"

# %%
# The data
# --------
#
# 1797 pictures of 8 by 8 points with grey values from 0 to 16. We divide by 16: networks like
# numbers between zero and one.
X, y = load_digits(return_X_y=True)
print(f"{len(X)} pictures, grey values {X.min():.0f} to {X.max():.0f}")
assert (len(X), X.min(), X.max()) == (1797, 0, 16)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0, stratify=y)

figure, panels = plt.subplots(1, 10, figsize=(9, 1.3), layout="constrained")
for digit, axes in enumerate(panels):
    axes.imshow(X_train[y_train == digit][0].reshape(8, 8), cmap="gray_r")
    axes.set_title(digit, fontsize="medium")
    axes.set_axis_off()
plt.show()

# %%
# The network
# -----------
#
# Two hidden layers of 30 logistic neurons, ten softmax outputs, stochastic gradient descent.
model = MLPClassifier(
    hidden_layer_sizes=[30, 30],
    activation="logistic",
    solver="sgd",
    learning_rate_init=0.1,
    max_iter=300,
    random_state=0,
)
model.set_params(tol=1e-3)  # which ends the fit where an epoch gains less than that
model.fit(X_train, y_train)
print(f"{model.n_iter_} epochs, accuracy on new digits {model.score(X_test, y_test):.3f}")
assert model.score(X_test, y_test) > 0.95

LossCurveDisplay.from_estimator(model)
plt.show()

# %%
# Names are easily mixed up. Whoever writes ``hidden_layer_size``, or gives a number as
# ``learning_rate``, is told what was meant.
for wrong in ({"hidden_layer_size": 30}, {"learning_rate": 0.1}):
    try:
        MLPClassifier(**wrong).fit(X_train, y_train)
    except (TypeError, ValueError) as error:
        print(f"{wrong}\n    {error}")

# %%
# The answer is a vector
# ----------------------
#
# Of ten probabilities the one of the right digit is near one.
picture = X_test[1:2]
shares = model.predict_proba(picture)[0]
print(f"a {y_test[1]}:", shares.round(3))
assert shares[y_test[1]] > 0.95

figure, (left, right) = plt.subplots(
    1, 2, figsize=(6.4, 2.6), layout="constrained", width_ratios=(1, 2)
)
left.imshow(picture.reshape(8, 8), cmap="gray_r")
left.set_axis_off()
right.bar(range(10), shares, color=BLUE)
right.set(xlabel="digit", ylabel="probability", xticks=range(10), ylim=(0, 1.05))
plt.show()

# %%
# The way through the network: wide layers are drawn by their first and last neurons, and the color
# of a circle is what it puts out.
NetworkDisplay.from_estimator(model, picture, max_units=10)
plt.show()

# %%
# What the first layer looks for
# ------------------------------
#
# Each of its neurons has a weight for every point of the picture, so that its weights are a
# picture, too. Orange is ink that it likes to see, blue is ink that it does not. Some are strokes
# and bows; many mean nothing to us.
WeightsDisplay.from_estimator(model, layer=0, image_shape=(8, 8))
plt.show()

# %%
# What it confuses
# ----------------
figure, axes = plt.subplots(figsize=(5, 4.6), layout="constrained")
ConfusionMatrixDisplay.from_estimator(model, X_test, y_test, cmap="Blues", ax=axes, colorbar=False)
axes.set(xlabel="what the network says", ylabel="what it is")
plt.show()
errors = int((model.predict(X_test) != y_test).sum())
print(f"{errors} of {len(y_test)} digits are wrong")
assert 0 < errors < 25

# %%
# What it doubts
# --------------
#
# The largest probability says how sure the network is. These are the twelve digits about which it
# is the least sure; a person would hesitate at some of them, too. Orange titles are errors.
probabilities = model.predict_proba(X_test)
doubtful = np.argsort(probabilities.max(axis=1))[:12]
figure, panels = plt.subplots(2, 6, figsize=(9, 3.8), layout="constrained")
for axes, number in zip(panels.flat, doubtful, strict=True):
    shares = probabilities[number]
    first, second = np.argsort(-shares)[:2]
    axes.imshow(X_test[number].reshape(8, 8), cmap="gray_r")
    axes.set_title(
        f"{first}: {shares[first]:.2f}\n{second}: {shares[second]:.2f}",
        color="k" if first == y_test[number] else ORANGE,
        fontsize="medium",
    )
    axes.set_axis_off()
plt.show()
wrong = (model.predict(X_test) != y_test)[doubtful].sum()
print(f"{wrong} of these {len(doubtful)} are wrong: doubt is worth something")
assert wrong / len(doubtful) > 5 * errors / len(y_test)

# %%
# What to take along
# ------------------
#
# - Scale pictures to [0, 1]; the answer is a vector of probabilities.
# - Weights of the first layer can be looked at. What deeper layers do is harder to say.
# - A confusion matrix tells more than an accuracy, and doubtful cases more than either.
#
# **Try**
#
# 1. Use ``activation="relu"`` and ``solver="adam"``. How many epochs does it take now?
# 2. Refuse an answer if no probability is above 0.9. How many digits are left, and how many of
#    these are wrong?
# 3. Shift the pictures of the test by one point to the right (``np.roll``). What remains of the
#    accuracy?
#
# Next: which layers, which learning rate? A search finds out, in
# :ref:`sphx_glr_gallery_course_plot_12_tuning.py`.
