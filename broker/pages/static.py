"""
Style sheet, scripts and the broker's mark: served under names that carry a hash of the content, cacheable for a year.

The files are read once and kept in memory; what is not in that table does not exist, so no path ever reaches the disk.
"""

from hashlib import sha256
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

STATIC_DIR = Path(__file__).parent / "static"

_MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}


class StaticFiles:
    """The shipped files by hashed name. ``url("stafett.css")`` gives ``/static/stafett.<hash>.css``."""

    def __init__(self, directory: Path = STATIC_DIR) -> None:
        self._urls: dict[str, str] = {}
        self._served: dict[str, tuple[bytes, str]] = {}
        for path in sorted(directory.iterdir()):
            media_type = _MEDIA_TYPES.get(path.suffix)
            if media_type is None:
                continue
            content = path.read_bytes()
            hashed = f"{path.stem}.{sha256(content).hexdigest()[:12]}{path.suffix}"
            self._urls[path.name] = f"/static/{hashed}"
            self._served[hashed] = (content, media_type)

    def url(self, name: str) -> str:
        """
        The path of *name* as pages link it.

        Raises:
            KeyError: no such file.
        """
        return self._urls[name]

    async def serve(self, request: Request) -> Response:
        """The file of a hashed name; 404 for any other, old hashes included."""
        found = self._served.get(request.path_params["name"])
        if found is None:
            return PlainTextResponse("not found", status_code=404, headers={"Cache-Control": "no-store"})
        content, media_type = found
        return Response(content, media_type=media_type, headers=_HEADERS)

    def routes(self) -> list[Route]:
        """The one route that serves them."""
        return [Route("/static/{name}", self.serve, methods=["GET"])]
