"""A payment server on the loopback interface, to develop and test against.

It answers as Finix does at the root path and as Fiant does under ``/v1``, keeps a ledger of every effect it made, and
breaks on request in the ways networks and servers really break. It never listens beyond loopback, never calls out
and never touches the disk.

    async with Sandbox() as sandbox, aiohttp.ClientSession(sandbox.url) as client:
        await client.post("/transfers", json=body, headers={"X-Sandbox-Fault": "reset-after*1", "X-Call": "order-7"})
        assert sandbox.ledger.charged_twice() == ()

The proof is in ``tests/sandbox``.
"""

from holdfast.sandbox.faults import Fault
from holdfast.sandbox.ledger import Ledger, LedgerEntry
from holdfast.sandbox.server import Sandbox, SeenRequest

__all__ = ["Fault", "Ledger", "LedgerEntry", "Sandbox", "SeenRequest"]
