"""What we know of each API, as data with its sources."""

from holdfast.providers.fiant import FIANT
from holdfast.providers.finix import FINIX
from holdfast.providers.generic import GENERIC
from holdfast.providers.provider import Finding, KeySlot, Lookup, LookupTarget, Provider, Rule

__all__ = ["FIANT", "FINIX", "GENERIC", "Finding", "KeySlot", "Lookup", "LookupTarget", "Provider", "Rule"]
