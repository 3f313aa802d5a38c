"""What we know of each API, as data with its sources."""

from holdfast.providers.fiant import FIANT
from holdfast.providers.finix import FINIX, FINIX_RATE_LIMIT
from holdfast.providers.generic import GENERIC
from holdfast.providers.provider import Finding, KeySlot, Lookup, LookupTarget, Provider, Rule

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
