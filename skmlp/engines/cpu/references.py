"""Named tuples by their address: what compiled functions hand on to each other.

A named tuple is handed on field by field, and an array in it as seven numbers. With hundreds of
them in every call, compiling takes longer for the calls than for what they do.
"""

import hashlib
from typing import Any

from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.imputils import lower_getattr_generic
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import intrinsic, register_model


class Reference(types.Type):
    """A named tuple that lies in the memory of the function that refers to it."""

    def __init__(self, target: Any) -> None:
        self.target = target
        # Not the target's own name: those of all its types would make symbols of kilobytes. But it
        # has to tell what the disk cache has to tell apart.
        kind = hashlib.sha256(str(target).encode()).hexdigest()[:16]
        super().__init__(f"Reference({target.instance_class.__name__} {kind})")

    @property
    def key(self) -> Any:
        return self.target


@register_model(Reference)
class _ReferenceModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Reference) -> None:
        super().__init__(dmm, fe_type, dmm.lookup(fe_type.target).get_value_type().as_pointer())


def _field(reference: Reference, name: str) -> tuple[int, Any]:
    index = reference.target.fields.index(name)
    return index, reference.target.types[index]


@infer_getattr
class _Fields(AttributeTemplate):
    key = Reference

    def generic_resolve(self, reference: Reference, name: str) -> Any:
        if name not in reference.target.fields:
            return None
        _, kind = _field(reference, name)
        return Reference(kind) if isinstance(kind, types.NamedTuple) else kind


@lower_getattr_generic(Reference)
def _load_field(context: Any, builder: Any, reference: Reference, value: Any, name: str) -> Any:
    index, kind = _field(reference, name)
    place = cgutils.gep_inbounds(builder, value, 0, index)
    return place if isinstance(kind, types.NamedTuple) else builder.load(place)


@intrinsic
def refer(typingctx, named):
    """``refer(named)``: a reference to a named tuple, good until the function returns."""

    def codegen(context, builder, signature, args):
        return cgutils.alloca_once_value(builder, args[0])

    return Reference(named)(named), codegen
