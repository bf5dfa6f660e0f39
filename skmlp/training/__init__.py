"""How networks learn: the epoch loop, stopping rules, schedules and L-BFGS, for every engine."""
