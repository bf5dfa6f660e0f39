"""The pictures of the front page, computed when the site is built: a plane that a network bends."""

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
GRAY = "#888888"  # is seen on white and on black


def figure_without_ground():
    """Return a figure with one panel, which shows nothing but what is drawn into it."""
    figure = Figure(figsize=(4, 4), layout="constrained")
    figure.patch.set_alpha(0)
    figure.subplots().set_axis_off()
    return figure


def draw():
    """Return the figures, by name."""
    X, y = make_moons(200, noise=0.12, random_state=0)
    X = StandardScaler().fit_transform(X)
    network = skmlp.MLPClassifier(
        (8,), activation="tanh", solver="lbfgs", alpha=1.0, max_iter=500, random_state=0
    ).fit(X, y)
    hidden = make_pipeline(skmlp.LayerTransformer(FrozenEstimator(network)), PCA(2)).fit(X)

    low, high = X.min(axis=0) - 0.3, X.max(axis=0) + 0.3
    fine = np.linspace(0, 1, 120)
    lines = [np.column_stack([np.full(120, at), fine]) for at in np.linspace(0, 1, 13)]
    lines = [low + line * (high - low) for line in [*lines, *(line[:, ::-1] for line in lines)]]
    figures = {name: figure_without_ground() for name in ("plane", "bent", "probability")}
    for name, bent in (("plane", np.asarray), ("bent", hidden.transform)):
        [axes] = figures[name].axes
        for line in lines:
            axes.plot(*bent(line).T, color=GRAY, linewidth=0.8, alpha=0.7)
        axes.scatter(*bent(X).T, s=24, color=COLORS[y], zorder=3)

    [axes] = figures["probability"].axes
    grid = np.stack(np.meshgrid(*(np.linspace(low[i], high[i], 200) for i in (0, 1))), axis=-1)
    probability = network.predict_proba(grid.reshape(-1, 2))[:, 1].reshape(200, 200)
    colors = LinearSegmentedColormap.from_list("classes", [COLORS[0], "white", COLORS[1]])
    levels = np.linspace(0, 1, 21)
    axes.contourf(*np.moveaxis(grid, -1, 0), probability, levels=levels, cmap=colors, alpha=0.8)
    axes.scatter(*X.T, s=24, color=COLORS[y], edgecolor="white", linewidth=0.5)
    return figures


def save(app):
    """Write the pictures where the front page looks for them."""
    folder = Path(app.srcdir) / "generated"
    if not (folder / "front-plane.png").exists():
        folder.mkdir(exist_ok=True)
        for name, figure in draw().items():
            figure.savefig(folder / f"front-{name}.png", dpi=120)


def setup(app):
    """Register with Sphinx."""
    app.connect("builder-inited", save)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
