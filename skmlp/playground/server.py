"""The server of the playground: the page's files and its sockets, for this machine alone."""

import asyncio
import contextlib
import hmac
import secrets
import socket
import threading
import webbrowser
from pathlib import Path
from typing import Any

from skmlp._optional import needed
from skmlp.playground.session import Session

STATIC = Path(__file__).parent / "static"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
MAX_MESSAGE = 3_000_000
MAX_SESSIONS = 16
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# A number of the application's own: there are too many tabs.
TOO_MANY = 4001


def make_application(token: str, port: int) -> Any:
    """Return the ASGI application.

    Parameters
    ----------
    token : str
        The first part of every path.
    port : int
        Where it listens, for the hosts and origins that it takes.
    """
    needed("starlette", "The playground", install="skmlp[playground]")
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route, WebSocketRoute
    from starlette.websockets import WebSocket

    hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
    files = {path.name: path for path in STATIC.iterdir() if path.suffix in TYPES}
    open_sessions: set[Session] = set()

    def is_ours(connection: Any) -> bool:
        given = connection.path_params["token"].encode()
        return connection.headers.get("host") in hosts and hmac.compare_digest(
            given, token.encode()
        )

    async def send_file(request: Request) -> Response:
        path = files.get(request.path_params.get("name", "index.html"))
        if not is_ours(request) or path is None:
            return PlainTextResponse("There is nothing here.\n", 404, headers=HEADERS)
        content = path.read_bytes()
        return Response(content, media_type=TYPES[path.suffix], headers=HEADERS)

    async def talk(websocket: WebSocket) -> None:
        origin = websocket.headers.get("origin", "")
        if not is_ours(websocket) or origin.removeprefix("http://") not in hosts:
            await websocket.close()  # before it is accepted: an answer with 403
            return
        await websocket.accept()
        if len(open_sessions) >= MAX_SESSIONS:
            await websocket.close(TOO_MANY, "Too many tabs are open.")
            return
        await serve(websocket, open_sessions)

    return Starlette(
        routes=[
            Route("/{token}/", send_file),
            Route("/{token}/{name}", send_file),
            WebSocketRoute("/{token}/socket", talk),
        ]
    )


async def serve(websocket: Any, open_sessions: set[Session]) -> None:
    """Answer a socket's messages one by one, and send what its training shows, till it closes."""
    from starlette.websockets import WebSocketDisconnect

    loop, woken, sending = asyncio.get_running_loop(), asyncio.Event(), asyncio.Lock()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(woken.set)

    session = Session(wake)
    open_sessions.add(session)

    async def send(answers: list[str | bytes]) -> None:
        async with sending:
            for message in [*answers, *session.take()]:
                if isinstance(message, bytes):
                    await websocket.send_bytes(message)
                else:
                    await websocket.send_text(message)

    async def show() -> None:
        while True:
            await woken.wait()
            woken.clear()
            await send([])

    showing = asyncio.create_task(show())
    try:
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                break
            answers = await asyncio.to_thread(session.handle, message.get("text") or "")
            await send(answers)
    except (WebSocketDisconnect, RuntimeError, OSError):
        pass  # the page has gone while it was answered
    finally:
        showing.cancel()
        open_sessions.discard(session)
        threading.Thread(target=session.close, daemon=True).start()


def make_server(port: int = 0) -> tuple[Any, socket.socket, str]:
    """Return a server, the socket that it is to run with, and its address.

    Parameters
    ----------
    port : int, default=0
        Where to listen at 127.0.0.1; 0 takes one that is free.

    Raises
    ------
    ImportError
        Without the extra.
    OSError
        If the port is taken.
    """
    for package in ("starlette", "websockets", "uvicorn"):
        uvicorn = needed(package, "The playground", install="skmlp[playground]")
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
    except OSError as error:
        listening.close()
        raise OSError(
            f"The playground cannot listen at port {port}: {error.strerror}. Choose another one by "
            "--port, or leave that out for one that is free."
        ) from error
    listening.listen()
    port, token = listening.getsockname()[1], secrets.token_urlsafe(24)
    configuration = uvicorn.Config(
        make_application(token, port),
        ws="websockets-sansio",
        ws_max_size=MAX_MESSAGE,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(configuration), listening, f"http://127.0.0.1:{port}/{token}/"


def run_playground(port: int = 0, *, opens_browser: bool = True) -> None:
    """Serve the page till Ctrl-C."""
    server, listening, address = make_server(port)
    print(f"The playground is at {address}\nCtrl-C ends it.", flush=True)
    if opens_browser:
        threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
    with listening, contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
