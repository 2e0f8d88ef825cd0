"""What stands before every request: a cap on its body, and headers that keep answers from being misused."""

from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from treadle.api.errors import error_response

_SAFE_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)


class Guard:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_SAFE_HEADERS]
            await send(message)

        body = await self._read_body(receive)
        if body is None:
            refusal = error_response(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, ("body", f"larger than {self._max_body_bytes} bytes")
            )
            await refusal(scope, receive, send_with_headers)
            return
        unread = [body]

        async def receive_body() -> Message:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            return await receive()

        await self._app(scope, receive_body, send_with_headers)

    async def _read_body(self, receive: Receive) -> bytes | None:
        """The whole body, or None when it is too large: a length header may lie, so what arrives is counted."""
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return b"".join(chunks)
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if size > self._max_body_bytes:
                return None
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks)
