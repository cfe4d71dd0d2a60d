"""Errors of the HTTP API as problem details (RFC 9457), by one middleware."""

import json
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from cache.errors import CacheError
from fediverdict.errors import NotDecided
from scanner.errors import ScannerError

logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
API_PREFIX = "/api/"


class Problem(Exception):
    """An API call that is answered with an HTTP status and one sentence."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


RETRY_SECONDS = 5
"""What `Retry-After` says where nothing could be decided now."""


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer errors as application/problem+json; the cause goes to the log.

    Federation answers its own; what aiohttp itself refuses is a problem under /api/ only.
    """
    try:
        return await handler(request)
    except Problem as error:
        return _answer(error.status, error.detail)
    except web.HTTPException as error:
        if not request.path.startswith(API_PREFIX):
            raise
        return _answer(error.status, error.reason)
    except (NotDecided, CacheError, ScannerError) as error:
        return _not_now(error)
    except (HttpProcessingError, web.RequestPayloadError, ConnectionError):
        return _answer(400, "The request's body is broken or ended early.")
    except Exception:
        logger.exception("the request met a fault of this program")
        return _answer(500, "The instance failed at this; its log says why.")


def _not_now(error: Exception) -> web.Response:
    """Answer where nothing was decided; what caused it is for the log alone."""
    if isinstance(error, NotDecided) and error.__cause__ is None:
        return _answer(503, str(error))
    logger.error("the request could not be served", exc_info=error)
    return _answer(503, "The instance cannot serve this now; its log says why.")


def _answer(status: int, detail: str) -> web.Response:
    body = {"type": "about:blank", "title": detail, "status": status, "detail": detail}
    headers = {
        401: {"WWW-Authenticate": "Bearer"},
        503: {"Retry-After": str(RETRY_SECONDS)},
    }.get(status)
    return web.Response(
        status=status,
        text=json.dumps(body),
        content_type="application/problem+json",
        headers=headers,
    )
