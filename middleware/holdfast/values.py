"""``dataclass`` for values: the standard one, whose work is done when it is needed and not when it is imported.

For each frozen class the standard decorator writes six methods as text and compiles them, whenever the module is
imported: 1 ms a class, and more than half of what ``import holdfast`` took. Here it still decides what a field is and
writes ``__init__``, but that for the first instance; the other methods are shared. Type checkers see the standard one.
Proof: ``tests/vocabulary/test_values.py`` holds the two against each other.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - a name of this module, for type checkers too
else:

    def dataclass(*, frozen: bool = False, slots: bool, kw_only: bool = False) -> Callable[[type], type]:
        """Make a class a dataclass, which compares, hashes, prints, pickles and is frozen as the standard one's."""

        def made_of(plain: type) -> type:
            told = {name: said for name, said in vars(plain).items() if name in {*_TOLD, *plain.__annotations__}}
            made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots, kw_only=kw_only)(plain)

            def first(self: object, *arguments: object, **named: object) -> None:
                whole = type(plain)(plain.__name__, plain.__bases__, told | {"__qualname__": plain.__qualname__})
                whole = dataclasses.dataclass(frozen=frozen, repr=False, eq=False, kw_only=kw_only)(whole)
                made.__init__ = whole.__init__
                made.__init__(self, *arguments, **named)

            made.__init__ = first
            made.__dataclass_params__.frozen = frozen  # asked by a dataclass that inherits from this one
            for name, method in (_FROZEN if frozen else _ANY).items():
                setattr(made, name, method)
            return made

        return made_of


_TOLD: Final = frozenset({"__annotations__", "__doc__", "__module__", "__post_init__"})
"""What ``__init__`` is written from, beside the fields' defaults."""


def _values(value: Any) -> list[object]:  # noqa: ANN401 - any dataclass, as in all below
    return [getattr(value, field.name) for field in dataclasses.fields(value)]


def _restore(value: Any, state: list[object]) -> None:  # noqa: ANN401
    for field, each in zip(dataclasses.fields(value), state, strict=True):
        object.__setattr__(value, field.name, each)


def _eq(value: object, other: object) -> bool:
    return _values(value) == _values(other) if other.__class__ is value.__class__ else NotImplemented


def _hash(value: object) -> int:
    return hash(tuple(_values(value)))


def _repr(value: Any) -> str:  # noqa: ANN401
    shown = (f"{field.name}={getattr(value, field.name)!r}" for field in dataclasses.fields(value) if field.repr)
    return f"{type(value).__qualname__}({', '.join(shown)})"


def _set(_: object, name: str, _value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _delete(_: object, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


_ANY: Final = {"__eq__": _eq, "__hash__": None, "__repr__": _repr}
_FROZEN: Final = _ANY | {
    "__hash__": _hash,
    "__setattr__": _set,
    "__delattr__": _delete,
    "__getstate__": _values,
    "__setstate__": _restore,
}
