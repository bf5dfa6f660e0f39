"""
Learning counts
===============

The Poisson loss against the squared error. Rides per hour at a bicycle counter, simulated from
hour, temperature and rain. Counts vary more where they are large and are never negative; the
Poisson loss knows both, the squared error neither.
"""

import numpy as np
from sklearn.metrics import d2_tweedie_score, mean_absolute_error
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmlp import MLPRegressor


def simulate_rides(n_hours, random_state):
    """Return features (n_hours, 4) and Poisson distributed counts with their true rate."""
    generator = np.random.default_rng(random_state)
    hour = generator.uniform(0, 24, n_hours)
    temperature = generator.normal(12, 8, n_hours)
    rain = generator.exponential(1.0, n_hours) * (generator.random(n_hours) < 0.3)
    rush = np.exp(-((hour - 8) ** 2) / 3) + np.exp(-((hour - 17) ** 2) / 6)
    rate = np.exp(-1.0 + 3.5 * rush + 0.06 * temperature - 0.8 * rain)
    angle = 2 * np.pi * hour / 24
    X = np.column_stack([np.sin(angle), np.cos(angle), temperature, rain])
    return X, generator.poisson(rate).astype(float), rate


def main():
    X, y, rate = simulate_rides(20_000, random_state=0)
    X_train, X_test, y_train, y_test, _, rate_test = train_test_split(
        X, y, rate, test_size=0.25, random_state=0
    )
    print(f"{len(y)} hours, {y.mean():.1f} rides on average, none in {np.mean(y == 0):.0%} of them")
    print("D2 is the share of the Poisson deviance explained (1 is perfect)\n")
    print(f"{'loss':<16}{'epochs':>7}{'D2':>8}{'MAE of the rate':>18}{'negative':>10}")
    for loss in ("squared_error", "poisson"):
        model = make_pipeline(
            StandardScaler(),
            MLPRegressor(loss, hidden_layer_sizes=(32, 32), early_stopping=True, random_state=0),
        ).fit(X_train, y_train)
        predicted = model.predict(X_test)
        # A deviance needs positive rates: a negative prediction counts as almost none.
        d2 = d2_tweedie_score(y_test, np.maximum(predicted, 1e-3), power=1)
        error = mean_absolute_error(rate_test, predicted)
        negative = np.mean(predicted < 0)
        print(f"{loss:<16}{model[-1].n_iter_:>7}{d2:>8.3f}{error:>18.3f}{negative:>10.1%}")


if __name__ == "__main__":
    main()
