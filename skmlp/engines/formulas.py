"""Registry formulas made ready for an engine's compiler."""

from collections.abc import Callable, Mapping
from types import CellType, CodeType, FunctionType, ModuleType
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
    single-precision loop into a double-precision one), those of `elementary` take the place of
    NumPy's of the same names, and formulas and numbers that it refers to are treated alike.
    """
    code: CodeType = formula.__code__
    constants = tuple(dtype(c) if isinstance(c, float) else c for c in code.co_consts)

    def bound(value: Any) -> Any:
        if isinstance(value, ModuleType):  # in users' functions: np.exp, math.exp
            return module_of(elementary)
        # Users' functions may have the name of an elementary one, and that one another name.
        if isinstance(value, FunctionType):
            return rebind(value, dtype, elementary, compile_function)
        if getattr(value, "__name__", "") in elementary:
            return elementary[value.__name__]
        return dtype(value) if isinstance(value, float) else value

    namespace = dict(formula.__globals__)
    for name in code.co_names:
        if name in namespace:
            namespace[name] = bound(namespace[name])
    closure = tuple(CellType(bound(cell.cell_contents)) for cell in formula.__closure__ or ())
    rebound = FunctionType(
        code.replace(co_consts=constants),
        namespace,
        formula.__name__,
        formula.__defaults__,
        closure,
    )
    return compile_function(rebound)


def module_of(functions: Mapping[str, Any]) -> ModuleType:
    """Return a module with these functions: compilers look attributes of modules up themselves."""
    module = ModuleType("elementary")
    vars(module).update(functions)
    return module
