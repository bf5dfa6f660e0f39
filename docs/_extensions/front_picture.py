"""The picture of the front page, computed when the site is built: a plane that a network bends."""

from pathlib import Path

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from sklearn.datasets import make_moons
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skmlp

COLORS = np.array(["#4c8fc4", "#ee8a32"])
GRAY = "#888888"  # is readable on white and on black


def draw():
    """Return the figure."""
    X, y = make_moons(200, noise=0.12, random_state=0)
    X = StandardScaler().fit_transform(X)
    network = skmlp.MLPClassifier(
        (8,), activation="tanh", solver="lbfgs", alpha=1.0, max_iter=500, random_state=0
    ).fit(X, y)
    hidden = make_pipeline(skmlp.LayerTransformer(FrozenEstimator(network)), PCA(2)).fit(X)

    figure = Figure(figsize=(10, 3.3), layout="constrained")
    figure.patch.set_alpha(0)
    before, after, outcome = figure.subplots(1, 3)
    low, high = X.min(axis=0) - 0.3, X.max(axis=0) + 0.3
    fine = np.linspace(0, 1, 120)
    lines = [np.column_stack([np.full(120, at), fine]) for at in np.linspace(0, 1, 13)]
    lines = [low + line * (high - low) for line in [*lines, *(line[:, ::-1] for line in lines)]]
    for axes, bent in ((before, lambda points: points), (after, hidden.transform)):
        for line in lines:
            axes.plot(*bent(line).T, color=GRAY, linewidth=0.6, alpha=0.7)
        axes.scatter(*bent(X).T, s=14, color=COLORS[y], zorder=3)
    grid = np.stack(np.meshgrid(*(np.linspace(low[i], high[i], 200) for i in (0, 1))), axis=-1)
    colors = LinearSegmentedColormap.from_list("classes", [COLORS[0], "white", COLORS[1]])
    probability = network.predict_proba(grid.reshape(-1, 2))[:, 1].reshape(200, 200)
    outcome.contourf(
        *np.moveaxis(grid, -1, 0), probability, levels=np.linspace(0, 1, 21), cmap=colors, alpha=0.8
    )
    outcome.scatter(*X.T, s=14, color=COLORS[y], edgecolor="white", linewidth=0.5)
    titles = "the plane", "as eight hidden units bend it", "what comes out: a probability"
    for axes, title in zip((before, after, outcome), titles, strict=True):
        axes.set_title(title, color=GRAY, fontsize=11)
        axes.set_axis_off()
    return figure


def save(app):
    """Write the picture where the front page looks for it."""
    folder = Path(app.srcdir) / "generated"
    folder.mkdir(exist_ok=True)
    if not (folder / "front.png").exists():
        draw().savefig(folder / "front.png", dpi=160)


def setup(app):
    """Register with Sphinx."""
    app.connect("builder-inited", save)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
