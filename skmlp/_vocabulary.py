"""What other libraries call our parameters and their values, and the answers to such names.

Keras, PyTorch, skorch, fastai, H2O, Spark, R's nnet and gradient boosting have other names for the
same things; the table of parameters lists them. A hint is one sentence of the form "Did you mean
...?", with a remark where what is called otherwise is not quite the same.
"""

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple, TypeVar, cast

Method = TypeVar("Method", bound=Callable[..., Any])


class Synonyms(NamedTuple):
    """Names that other libraries have for a parameter.

    Attributes
    ----------
    names : str
        Theirs, separated by spaces. Capitals and underscores do not count.
    remark : str
        In what theirs differ, or what to do instead.
    beside : tuple of str
        What else is meant by them.
    """

    names: str
    remark: str = ""
    beside: tuple[str, ...] = ()


# What others offer and we do not.
NOT_OFFERED = (
    Synonyms(
        "validation_data validation_set validation eval_set val_data X_val y_val X_valid y_valid",
        "Validation data are passed to fit: fit(X, y, X_val=..., y_val=...), with "
        "early_stopping=True.",
    ),
    Synonyms(
        "callback callbacks cbs",
        "Callbacks are set by set_callbacks(...), as those of skmlp.callbacks.",
    ),
    Synonyms(
        "standardize normalize normalize_input",
        "X is not scaled here. Put a StandardScaler before the network in a pipeline.",
    ),
)


def plain(name: str) -> str:
    """Return a name without what libraries spell differently: capitals and punctuation."""
    return re.sub(r"[\W_]", "", name.lower())


class Meaning(NamedTuple):
    """Our parameters that a name of another library stands for, none for what is not offered."""

    parameters: tuple[str, ...]
    remark: str


def meanings() -> dict[str, Meaning]:
    """Return what each name of other libraries stands for; gathered where an error is due."""
    # The table's constraints have classes of choices, which need the answers given here.
    from skmlp._parameters import PARAMETERS

    groups: list[tuple[tuple[str, ...], Synonyms]] = [((), entry) for entry in NOT_OFFERED]
    groups += [((p.name, *s.beside), s) for p in PARAMETERS.values() for s in p.synonyms]
    return {
        plain(name): Meaning(parameters, entry.remark)
        for parameters, entry in groups
        for name in entry.names.split()
    }


def other_values(parameter: str) -> Mapping[str, str]:
    """Return what others call the values of a parameter."""
    from skmlp._parameters import PARAMETERS

    found: dict[str, str] = {}
    for entry in PARAMETERS.values():
        if entry.name == parameter:  # estimators may have different ones of that name
            for value, names in entry.values.items():
                found[value] = f"{found.get(value, '')} {names}"
    return found


def keyword_hint(keyword: str, names: Collection[str]) -> str:
    """Return a sentence that says which of `names` is meant by a keyword; "" if that is unknown.

    Of a nested name such as skorch's ``optimizer__lr`` the last part counts.
    """
    entry = meanings().get(plain(keyword.rpartition("__")[2]))
    if entry and set(entry.parameters) <= set(names):
        return did_you_mean(entry.parameters, entry.remark)
    return did_you_mean(difflib.get_close_matches(keyword, names, n=1))


def did_you_mean(names: Collection[str], remark: str = "") -> str:
    """Return the one form that hints have; "" where there is nothing to say."""
    question = f"Did you mean {' and '.join(map(repr, names))}?" if names else ""
    return f"{question} {remark}".strip()


def value_hint(
    parameter: str, value: Any, options: Iterable[str], classes: Iterable[type] = ()
) -> str:
    """Return a sentence that says what is meant by a value; "" if that is unknown.

    It is one of the options, or an object of one of the classes.
    """
    written = {option: repr(option) for option in options}
    for choice in classes:
        # What must be given is for its documentation to say.
        signature = inspect.signature(choice.__init__)  # type: ignore[misc]
        required = any(p.default is p.empty for p in list(signature.parameters.values())[1:])
        written[choice.__name__] = f"{choice.__name__}({'...' * required})"
        if value is choice:
            return f"{parameter}={choice.__name__} is a class: give an object, " + (
                f"{parameter}={written[choice.__name__]}."
            )
    text = value if isinstance(value, str) else getattr(value, "__name__", type(value).__name__)
    elsewhere = other_values(parameter)
    for name, ours in written.items():
        if plain(text) in (plain(name), *elsewhere.get(name, "").split()):
            return f"Did you mean {parameter}={ours}?"
    return ""


@cache
def parameter_names(estimator_class: type) -> tuple[str, ...]:
    """Return the names of the constructor's parameters, () where it takes any keyword."""
    parameters = inspect.signature(estimator_class.__init__).parameters  # type: ignore[misc]
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return ()
    return tuple(name for name in parameters if name != "self")


@cache
def known_keywords(estimator_class: type) -> frozenset[str]:
    """Return the same names to be looked up, as clones do with all of them."""
    return frozenset(parameter_names(estimator_class))


def check_keywords(estimator_class: type, keywords: Iterable[str]) -> None:
    """Refuse an unknown constructor parameter and say which one was meant.

    Raises
    ------
    TypeError
        If a keyword is not a parameter.
    """
    names = parameter_names(estimator_class)
    if not names or known_keywords(estimator_class).issuperset(keywords):
        return
    for keyword in keywords:
        if keyword in names:
            continue
        hint = keyword_hint(keyword, names) or f"Parameters are: {', '.join(names)}."
        raise TypeError(
            f"{estimator_class.__name__}() got an unexpected keyword argument {keyword!r}. {hint}"
        )


def check_names(owner: Any, params: Mapping[str, Any]) -> None:
    """Refuse names that `owner.set_params` does not take, before it sets any.

    Raises
    ------
    ValueError
        If a name, or a part of a nested one such as ``solver__beta_2``, is not a parameter.
    """
    known = owner.get_params()  # in depth, because a pipeline names its steps there only
    names = [name for name in known if "__" not in name]
    nested: dict[str, dict[str, Any]] = {}
    for name, value in params.items():
        own, is_nested, rest = name.partition("__")
        if own not in names:
            kind = "estimator " if hasattr(owner, "fit") else ""
            raise ValueError(
                f"Invalid parameter {own!r} for {kind}{owner}. Valid parameters are: "
                f"{names!r}. {keyword_hint(name, names)}".rstrip()
            )
        if is_nested:
            nested.setdefault(own, {})[rest] = value
    for own, values in nested.items():
        holder = params.get(own, known[own])
        if isinstance(holder, type) or not hasattr(holder, "get_params"):
            raise ValueError(
                f"Invalid parameter {own + '__' + next(iter(values))!r}: {own}={holder!r} has no "
                f"parameters. Set {own} to an object that has."
            )
        check_names(holder, values)


def answers_keywords(method: Method) -> Method:
    """Let a method say what is meant by a keyword that it does not take.

    Its signature stays as it is, because scikit-learn looks at it.
    """
    names = tuple(inspect.signature(method).parameters)[1:]

    @functools.wraps(method)
    def answering(self: Any, *args: Any, **kwargs: Any) -> Any:
        for keyword in kwargs:
            if keyword not in names:
                raise TypeError(unexpected_in_method(type(self), method.__name__, names, keyword))
        return method(self, *args, **kwargs)

    return cast(Method, answering)


def unexpected_in_method(
    estimator_class: type, method: str, names: tuple[str, ...], keyword: str
) -> str:
    """Return the message on a keyword that a method does not take."""
    constructor = parameter_names(estimator_class)
    hint = "" if keyword in constructor else keyword_hint(keyword, (*names, *constructor))
    return (
        f"{estimator_class.__name__}.{method}() got an unexpected keyword argument {keyword!r}. "
        f"{hint}{' ' * bool(hint)}{method} takes {', '.join(names)}; the parameters of the "
        f"network are those of {estimator_class.__name__}(...) and set_params."
    )
