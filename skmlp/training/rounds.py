"""Several fits side by side, an epoch of each at a time, and a look at all of them in between."""

from collections.abc import Callable, Sequence

from skmlp.engines.base import Engine, Finished, Run
from skmlp.engines.pools import check_abandoned
from skmlp.training.interrupts import POLICY
from skmlp.training.loop import Outcome, Trainer, finish, unchanged
from skmlp.training.stopping import StopReason

# Which of the fits under way take part in the next round, by their numbers; none ends all of them.
Choose = Callable[[Sequence[int]], Sequence[int]]
# Is told, after a round, which fits took part, in the order of their numbers.
Look = Callable[[Sequence[int], Run], None]


def train_in_rounds(
    engine: Engine, trainers: Sequence[Trainer], choose: Choose, look: Look
) -> list[Outcome]:
    """Run several fits in rounds; return what each of them ended with.

    In a round each fit that takes part goes on for one epoch, on whatever core is free. Where
    every trainer looks at its epochs, what is known after a round does not depend on which of them
    came first.

    Parameters
    ----------
    engine : Engine
    trainers : sequence of Trainer
        Each plans one epoch at a time.
    choose : callable
        ``choose(under_way)``: the numbers of those of the fits under way that take part in the next
        round. Others stay what they are; all of them end if there are none.
    look : callable
        ``look(numbers, run)`` after each round, with the fits that took part. Parameters of a fit
        may be asked for there, by its number.

    Notes
    -----
    The first `KeyboardInterrupt` ends all of them with what they have learned; a second one soon
    after is passed on.
    """
    outcomes: dict[int, Outcome] = {}
    with engine.start([]) as run:
        under_way: dict[int, Trainer] = {}
        try:
            for trainer in trainers:
                trainer.know(engine)
                under_way[run.add(trainer.task)] = trainer
            while under_way:
                chosen = sorted(choose(list(under_way)))
                if not chosen:
                    break
                carry_out_round(run, under_way, chosen)
                look(chosen, run)
                for index in chosen:
                    if under_way[index].stop_reason is not None:
                        # In this order: an interrupt may come between any two of them.
                        outcomes[index] = finish(under_way[index], run, index)
                        del under_way[index]
                        run.retire(index)
        except KeyboardInterrupt:
            if not (under_way and POLICY.ends_only_this_fit()):
                raise
            run.close()
            for trainer in under_way.values():
                trainer.interrupt()
        for index, trainer in under_way.items():
            trainer.stop_reason = trainer.stop_reason or StopReason.MAX_TIME
            outcomes[index] = finish(trainer, run, index)
    return [outcomes.get(index) or unchanged(trainer) for index, trainer in enumerate(trainers)]


def carry_out_round(run: Run, trainers: dict[int, Trainer], chosen: Sequence[int]) -> None:
    """Run the next epoch of each of the chosen fits.

    Those whose epochs take longest begin first, so that all end at about the same time, and who has
    ended leaves his core to the others.
    """
    check_abandoned()
    n_submitted = 0
    for index in sorted(chosen, key=lambda index: -trainers[index].mean_seconds):
        trainers[index].begin()
        plan = trainers[index].plan()
        if plan is not None:
            run.submit(index, plan)
            n_submitted += 1
    while n_submitted:
        done: list[Finished] = run.wait()
        for index, result, seconds in done:
            run.rest(index)
            trainers[index].record(result, run, index, seconds)
        n_submitted -= len(done)
