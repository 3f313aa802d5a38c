"""Every public name and parameter of aiohttp's session is there, and stays there when aiohttp grows new ones."""

import inspect
from collections.abc import Callable
from typing import Any, Final

import aiohttp
import pytest
from tests.contract.kinds import OLD_AUTH, Kind, each_kind
from tests.support import run

from holdfast import ResilientSession

DEPRECATED: Final = frozenset({"loop"})
"""Reading it warns; it has a test of its own."""

ATTRIBUTES: Final = sorted(
    name
    for name, value in inspect.getmembers_static(aiohttp.ClientSession)
    if isinstance(value, property) and not name.startswith("_") and name not in DEPRECATED
)
METHODS: Final = sorted(
    name for name, value in inspect.getmembers(aiohttp.ClientSession, callable) if not name.startswith("_")
)
PROTOCOL: Final = ("__aenter__", "__aexit__", "__enter__", "__exit__")

OWN_OPTIONS: Final = {"provider", "policy", "client", "sinks", "limits", "client_options"}

REQUESTING: Final = ("request", "get", "options", "head", "post", "put", "patch", "delete", "ws_connect")


def parameters(method: Callable[..., Any]) -> list[tuple[str, Any, Any]]:
    """Give name, kind and default of each parameter."""
    return [(each.name, each.kind, each.default) for each in inspect.signature(method).parameters.values()]


def test_the_names_are_looked_for_where_they_are() -> None:
    """The tests below would pass by looking at nothing."""
    assert {"cookie_jar", "headers", "connector", "timeout", "closed"} <= set(ATTRIBUTES)
    assert {"request", "get", "post", "ws_connect", "close", "detach"} <= set(METHODS)


@each_kind()
def test_it_is_an_instance_of_aiohttps_session(kind: Kind) -> None:
    """A library that checks its argument would turn the session away."""

    async def scenario() -> bool:
        async with kind.open() as session:
            return isinstance(session, aiohttp.ClientSession)

    assert run(scenario())


@each_kind()
@pytest.mark.parametrize("name", sorted(name for name in dir(aiohttp.ClientSession) if not name.startswith("_")))
@pytest.mark.filterwarnings("ignore:client.loop property is deprecated:DeprecationWarning")
def test_every_public_name_of_aiohttps_session_is_there(kind: Kind, name: str) -> None:
    """Drop-in code would fail with ``AttributeError`` in the one branch that nobody tested."""

    async def scenario() -> tuple[bool, bool]:
        async with kind.open() as session, aiohttp.ClientSession() as plain:
            return callable(getattr(session, name)), callable(getattr(plain, name))

    ours, theirs = run(scenario())

    assert ours == theirs


@pytest.mark.parametrize("name", [*METHODS, *PROTOCOL])
def test_each_method_has_the_parameters_of_aiohttps(name: str) -> None:
    """A caller who passes an argument by place, or by a name that aiohttp has, would be told there is none."""

    async def scenario() -> tuple[Any, Any]:
        async with aiohttp.ClientSession() as plain, ResilientSession() as ours:
            return parameters(getattr(ours, name)), parameters(getattr(plain, name))

    ours, theirs = run(scenario())

    assert ours == theirs


@pytest.mark.parametrize("name", REQUESTING)
def test_each_request_method_is_a_method_of_the_class(name: str) -> None:
    """Instrumentation that patches the class would find nothing to patch."""
    assert inspect.isfunction(inspect.getattr_static(ResilientSession, name))


def test_every_option_of_aiohttps_session_is_taken() -> None:
    """An option that aiohttp adds would be refused by a signature that lists the old ones."""
    ours = inspect.signature(ResilientSession.__init__).parameters
    theirs = inspect.signature(aiohttp.ClientSession.__init__).parameters

    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in ours.values())

    assert takes_any or set(theirs) <= set(ours)
    assert set(ours) - set(theirs) <= OWN_OPTIONS
    assert ours["base_url"].default is theirs["base_url"].default
    assert ours["base_url"].kind is theirs["base_url"].kind


@each_kind()
def test_its_attributes_tell_what_it_was_made_with(kind: Kind) -> None:
    """Code that copies a session's settings, or checks them, would see others."""

    async def check(_: aiohttp.ClientResponse) -> None: ...

    def dumps(_: object) -> str:
        return ""

    async def scenario() -> tuple[dict[str, Any], dict[str, Any]]:
        jar, trace = aiohttp.DummyCookieJar(), aiohttp.TraceConfig()
        connector = aiohttp.TCPConnector()
        wanted: dict[str, Any] = {
            "auto_decompress": False,
            "closed": False,
            "connector": connector,
            "connector_owner": False,
            "cookie_jar": jar,
            "headers": {"X-Own": "1"},
            "json_serialize": dumps,
            "raise_for_status": check,
            "requote_redirect_url": False,
            "skip_auto_headers": frozenset({"User-Agent"}),
            "timeout": aiohttp.ClientTimeout(total=7),
            "trace_configs": [trace],
            "trust_env": True,
            "version": aiohttp.HttpVersion10,
        }
        async with kind.open(**{name: value for name, value in wanted.items() if name != "closed"}) as session:
            found = {name: getattr(session, name) for name in ATTRIBUTES if name != "auth"}
        await connector.close()
        return found, wanted

    found, wanted = run(scenario())

    assert found == wanted


@each_kind()
@OLD_AUTH
def test_its_auth_is_the_one_it_was_given(kind: Kind) -> None:
    """Code that hands a session's credentials on would hand on none."""

    async def scenario() -> tuple[aiohttp.BasicAuth | None, aiohttp.BasicAuth | None]:
        async with kind.open(auth=aiohttp.BasicAuth("u", "p")) as session, kind.open() as without:
            return session.auth, without.auth

    assert run(scenario()) == (aiohttp.BasicAuth("u", "p"), None)


@each_kind()
def test_reading_the_loop_warns(kind: Kind) -> None:
    """The user would not be told that it goes away."""

    async def scenario() -> None:
        async with kind.open() as session:
            with pytest.warns(DeprecationWarning, match=r"client\.loop property is deprecated"):
                assert not session.loop.is_closed()

    run(scenario())


@each_kind()
def test_requoting_can_be_set_later_and_warns(kind: Kind) -> None:
    """A setting made on our session would not reach the one that follows redirects."""

    async def scenario() -> bool:
        async with kind.open() as session:
            with pytest.warns(DeprecationWarning, match="requote_redirect_url modification is deprecated"):
                session.requote_redirect_url = False
            return session.requote_redirect_url

    assert run(scenario()) is False


@each_kind()
def test_its_default_headers_can_be_changed_in_place(kind: Kind) -> None:
    """A token that is refreshed by ``session.headers.update`` would never be sent."""

    async def scenario() -> str:
        async with kind.open(headers={"X-Token": "old"}) as session:
            session.headers.update({"X-Token": "new"})
            session.headers["X-More"] = "1"
            return f"{session.headers['x-token']} {session.headers['x-more']}"

    assert run(scenario()) == "new 1"


@each_kind()
@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"no_such_option": 1}, TypeError, "no_such_option"),
        ({"timeout": 5}, ValueError, "timeout parameter cannot be of"),
        ({"base_url": "http://host.test/no-slash"}, ValueError, "must have a trailing '/'"),
        ({"base_url": "/relative/"}, ValueError, "URL should be absolute"),
    ],
)
def test_a_wrong_option_is_the_same_error(
    kind: Kind, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    """A mistake at start-up would be another error, or none until the first request."""

    async def scenario() -> None:
        kind.open(**options)

    with pytest.raises(error, match=words) as raised:
        run(scenario())

    assert type(raised.value) is error


@each_kind()
def test_it_cannot_be_entered_without_async(kind: Kind) -> None:
    """A forgotten ``async`` would look as if it worked, and leak the session."""

    async def scenario() -> None:
        async with kind.open() as session:
            with pytest.raises(TypeError, match="Use async with instead"):
                session.__enter__()
            assert hasattr(session, "__exit__")

    run(scenario())


@each_kind()
def test_with_without_async_is_a_type_error(kind: Kind) -> None:
    """The statement itself must say so, and not only the method."""

    async def scenario() -> None:
        session: Any
        async with kind.open() as session:
            with session:
                raise AssertionError("it was entered")

    with pytest.raises(TypeError, match="Use async with instead"):
        run(scenario())


def test_it_needs_a_running_loop_as_plain_aiohttp_does() -> None:
    """A session made at import time would fail at the first request instead of there."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        ResilientSession()
