"""Learning-rate schedules of the ``sgd`` solver."""

from dataclasses import dataclass

# "adaptive" gives up once the learning rate has fallen this low, and divides by this much.
ADAPTIVE_MINIMUM = 1e-6
ADAPTIVE_DIVISOR = 5.0


@dataclass(frozen=True)
class Schedule:
    """How the learning rate changes during a fit.

    Parameters
    ----------
    name : {"constant", "invscaling", "adaptive"}
    learning_rate_init : float
        Learning rate of the first epoch.
    power_t : float
        Exponent of "invscaling".
    """

    name: str
    learning_rate_init: float
    power_t: float = 0.5

    @property
    def changes_every_epoch(self) -> bool:
        return self.name == "invscaling"

    def after_epoch(self, learning_rate: float, samples_seen: int) -> float:
        """Return the learning rate of the next epoch.

        "invscaling" is ``learning_rate_init / (samples_seen + 1) ** power_t``.
        """
        if self.name == "invscaling":
            return self.learning_rate_init / (samples_seen + 1) ** self.power_t
        return learning_rate

    def after_plateau(self, learning_rate: float) -> float | None:
        """Return a lower learning rate to go on with, or None to stop."""
        if self.name == "adaptive" and learning_rate > ADAPTIVE_MINIMUM:
            return learning_rate / ADAPTIVE_DIVISOR
        return None
