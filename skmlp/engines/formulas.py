"""Registry formulas made ready for an engine's compiler."""

from collections.abc import Callable, Mapping
from types import CodeType, FunctionType
from typing import Any

Formula = Callable[..., Any]


def rebind(
    formula: Any,
    dtype: Callable[[float], Any],
    elementary: Mapping[str, Any],
    compile_function: Callable[[Formula], Any],
) -> Any:
    """Return a formula in one precision, with an engine's elementary functions.

    Its float literals become constants of `dtype` (a double literal would silently turn a
    single-precision loop into a double-precision one), the functions named in `elementary` take
    the place of NumPy's, and formulas that it calls are treated alike.
    """
    code: CodeType = formula.__code__
    constants = tuple(dtype(c) if isinstance(c, float) else c for c in code.co_consts)
    namespace = dict(formula.__globals__)
    for name in code.co_names:
        callee = namespace.get(name)
        if name in elementary:
            namespace[name] = elementary[name]
        elif isinstance(callee, FunctionType):
            namespace[name] = rebind(callee, dtype, elementary, compile_function)
    rebound = FunctionType(
        code.replace(co_consts=constants), namespace, formula.__name__, formula.__defaults__
    )
    return compile_function(rebound)
