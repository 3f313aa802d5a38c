"""No framework: an application that refuses the lifespan scope by raising."""

import json
from typing import Any, Final

from tests.inbound.service import charge, wait_for_slow, whoami, wrapped


async def serve(scope: Any, receive: Any, send: Any) -> None:
    """Serve one request."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    while (await receive()).get("more_body"):
        pass
    if scope["path"] == "/whoami":
        document = await whoami()
    else:
        document = await (charge if scope["path"] == "/charge" else wait_for_slow)(scope["state"])
    body = json.dumps(document).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


app: Final = wrapped(serve)
