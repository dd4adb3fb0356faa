"""
``/metrics``, on an address of its own: what it tells is the operator's business and stays off the public port.
"""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def metrics_app(render: Callable[[], tuple[bytes, str]]) -> Starlette:
    """An application with one page, *render*'s text and content type, and nothing else."""

    async def page(_: Request) -> Response:
        text, content_type = render()
        return Response(text, headers={"content-type": content_type, "cache-control": "no-store"})

    app = Starlette(routes=[Route("/metrics", page, methods=["GET"])])
    app.router.redirect_slashes = False
    return app
