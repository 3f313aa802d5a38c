"""What we know of each API, as data with its sources."""

from typing import TYPE_CHECKING

from holdfast.providers.generic import GENERIC
from holdfast.providers.provider import Finding, KeySlot, Lookup, LookupTarget, Provider, Rule

if TYPE_CHECKING:
    from holdfast.providers.fiant import FIANT
    from holdfast.providers.finix import FINIX, FINIX_RATE_LIMIT
else:
    # Whoever calls one API needs what is known of that one.
    from importlib import import_module

    _LATER = {"FIANT": "fiant", "FINIX": "finix", "FINIX_RATE_LIMIT": "finix"}

    def __getattr__(name: str) -> object:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
        return globals()[name]

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "FIANT",
    "FINIX",
    "FINIX_RATE_LIMIT",
    "GENERIC",
    "Finding",
    "KeySlot",
    "Lookup",
    "LookupTarget",
    "Provider",
    "Rule",
]
