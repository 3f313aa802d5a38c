"""Where the sandbox listens, how it starts and stops, and what its ledger counts."""

import asyncio
import socket
import time

import aiohttp
import pytest
from tests.sandbox.driving import drive, lost, payment

from holdfast.sandbox import Ledger, Sandbox


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.0.1", "127.0.0.2", "example.com", "LOCALHOST"])  # noqa: S104
def test_any_host_but_loopback_is_refused(host: str) -> None:
    """A pretended bank that anyone on the network can reach is a hole."""
    with pytest.raises(ValueError, match=r"host must be one of 127\.0\.0\.1, localhost, ::1"):
        Sandbox(host=host)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": -1}, "port must be"),
        ({"port": 65536}, "port must be"),
        ({"slow_s": -1.0}, "slow_s must be"),
        ({"slow_s": float("inf")}, "slow_s must be"),
        ({"slow_s": float("nan")}, "slow_s must be"),
    ],
)
def test_a_value_out_of_range_is_refused_at_birth(options: dict[str, float], message: str) -> None:
    """A mistake in the set-up must not show up as a hanging test."""
    with pytest.raises(ValueError, match=message):
        Sandbox(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_localhost_is_the_same_as_its_number(host: str) -> None:
    """A name that resolves to two addresses would listen on two ports, one of them unknown."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> str:
        assert (await client.get("/transfers")).status == 200
        return sandbox.url.rpartition(":")[0]

    assert drive(scenario, host=host) == "http://127.0.0.1"


def test_loopback_of_ipv6_is_served_where_the_machine_has_it() -> None:
    """Its address needs brackets in a URL."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no ::1")

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> str:
        assert (await client.get("/transfers")).status == 200
        return sandbox.url.rpartition(":")[0]

    assert drive(scenario, host="::1") == "http://[::1]"


def test_a_sandbox_has_an_address_only_while_it_runs() -> None:
    """An address from before the start, or from the run before, would send a test into nothing."""

    async def main() -> None:
        sandbox = Sandbox()
        await sandbox.close()
        with pytest.raises(RuntimeError, match="not running"):
            _ = sandbox.url
        await sandbox.start()
        with pytest.raises(RuntimeError, match="running already"):
            await sandbox.start()
        assert sandbox.url.startswith("http://127.0.0.1:")
        await sandbox.close()
        await sandbox.close()
        with pytest.raises(RuntimeError, match="not running"):
            _ = sandbox.url

    asyncio.run(main())


def test_a_taken_port_is_an_error_and_leaves_nothing_behind() -> None:
    """A second sandbox on the port must fail at once, and be startable when the port is free again."""

    async def main() -> None:
        async with Sandbox() as first:
            second = Sandbox(port=int(first.url.rpartition(":")[2]))
            with pytest.raises(OSError, match="address already in use"):
                await second.start()
        async with second:
            assert second.url

    asyncio.run(main())


def test_what_happened_outlives_a_stop_and_connections_fail_meanwhile() -> None:
    """Stop and start on one port is a true connection refusal, which no single request can be given."""

    async def main() -> None:
        async with Sandbox() as scout:
            port = int(scout.url.rpartition(":")[2])
        sandbox = Sandbox(port=port)
        fresh = aiohttp.TCPConnector(force_close=True)  # a kept-alive connection would end in another error
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", connector=fresh) as client:
            async with sandbox:
                first = await (await client.post("/transfers", json=payment())).read()
            assert isinstance(await lost(client.post("/transfers", json=payment())), aiohttp.ClientConnectorError)
            async with sandbox:
                again = await (await client.post("/transfers", json=payment())).read()
        assert first == again
        assert sandbox.ledger.count == 1

    asyncio.run(main())


def test_closing_does_not_wait_for_slow_answers() -> None:
    """A test that leaves a slow call behind must still end at once."""

    async def main() -> float:
        async with Sandbox(slow_s=60.0) as sandbox, aiohttp.ClientSession(sandbox.url) as client:
            hanging = asyncio.create_task(
                lost(client.post("/transfers", json=payment(), headers={"X-Sandbox-Fault": "slow"}))
            )
            while sandbox.ledger.count == 0:  # noqa: ASYNC110 - the sandbox has no event to wait for
                await asyncio.sleep(0.001)
            began = time.perf_counter()
            await sandbox.close()
            elapsed = time.perf_counter() - began
            assert isinstance(await hanging, aiohttp.ClientConnectionError)
        return elapsed

    assert asyncio.run(main()) < 2.0


def test_concurrent_sends_of_one_key_take_effect_once() -> None:
    """Two workers that pick up the same payment must not both charge for it."""

    async def scenario(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        answers = await asyncio.gather(*(client.post("/transfers", json=payment()) for _ in range(30)))

        assert len({await answer.read() for answer in answers}) == 1
        assert sandbox.ledger.count == 1
        assert len(sandbox.requests) == 30

    drive(scenario)


def test_the_ledger_names_each_call_that_happened_twice_once() -> None:
    """The count of charges made twice is the figure that the library is judged by."""
    ledger = Ledger()

    ledger.record(operation="finix.transfer", resource_id="TR1", key="a", amount=1, reference="call-1")
    ledger.record(operation="finix.transfer", resource_id="TR2", key="b", amount=1, reference="call-2")
    assert ledger.charged_twice() == ()
    ledger.record(operation="finix.transfer", resource_id="TR3", key="a", amount=1, reference="call-1")
    ledger.record(operation="finix.transfer", resource_id="TR4", key="c", amount=1, reference="call-2")
    ledger.record(operation="finix.merchant", resource_id="MU1")
    ledger.record(operation="finix.merchant", resource_id="MU2")

    assert ledger.charged_twice() == ("a", "call-2")
    assert [entry.resource_id for entry in ledger.by_key("a")] == ["TR1", "TR3"]
    assert [entry.sequence for entry in ledger.effects()] == [1, 2, 3, 4, 5, 6]
    assert ledger.count == 6
