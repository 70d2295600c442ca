"""A ranker behind HTTP: POST /v1/rerank and /v1/score, as Cohere, Jina and vLLM have them.

Needs the extra ``serve`` (fastapi, uvicorn).
"""

from __future__ import annotations

import asyncio
import hmac
import math
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from policyrank.errors import EvidenceError
from policyrank.train.batching import Batches, BusyError
from policyrank.train.served import Answered, Asked, Served
from policyrank.train.serving_forms import (
    RerankRequest,
    ScoreRequest,
    error_body,
    meta,
    results,
    usage,
)


@dataclass(frozen=True)
class Limits:
    """What a server takes.

    Attributes
    ----------
    documents
        of a request; also of what is scored at once
    bytes
        of a request
    waiting
        requests that wait; more are told to come again
    """

    documents: int = 1000
    bytes: int = 16 * 2**20
    waiting: int = 256


def rerank_app(
    ranker: Served,
    name: str,
    *,
    limits: Limits = Limits(),
    key: str | None = None,
    sigmoid: bool = False,
    report: Callable[[str], Any] | None = None,
) -> FastAPI:
    """The server's application.

    Parameters
    ----------
    ranker
        what scores
    name
        what the model is called; requests for another are refused (404), those that name none are
        not
    key
        what requests must bear (Authorization: Bearer KEY); /health is open
    sigmoid
        scores s are 1 / (1 + exp(-s)), between 0 and 1, as most servers of cross-encoders give
        them; else as the ranker has them, as ``policyrank rerank`` writes them
    report
        told of failures
    """
    batches = Batches(ranker, documents=limits.documents, waiting=limits.waiting, report=report)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(batches.run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    # Without pages that load scripts of others; /openapi.json is there.
    app = FastAPI(title=name, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.limits = limits
    app.add_middleware(_Doorkeeper, limit=limits.bytes, key=key)
    _answer_errors(app)
    scorer = _Scorer(ranker, name, limits, batches, sigmoid)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "waiting": batches.queued}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        own = {"id": name, "object": "model", "owned_by": "policyrank", "kind": ranker.kind}
        return {"object": "list", "data": [{**own, "max_model_len": ranker.longest}]}

    @app.post("/v2/rerank")
    @app.post("/rerank")
    @app.post("/v1/rerank")
    async def rerank(request: RerankRequest) -> dict[str, Any]:
        asked = request.asked()
        (found,) = await scorer.score(request.model, [asked], cut=request.truncation)
        shown = request.return_documents
        return {
            "id": f"rerank-{uuid.uuid4().hex}",
            "object": "list",
            "model": name,
            "results": results(found, asked.documents, request.top_n, shown=shown),
            "usage": usage([found]),
            "meta": meta([found], request.warnings()),
        }

    @app.post("/score")
    @app.post("/v1/score")
    async def score(request: ScoreRequest) -> dict[str, Any]:
        if ranker.ordered:
            raise HTTPException(
                400,
                "this model puts lists in order, and scores no document alone: ask /v1/rerank, or"
                " serve it with --method pointwise.",
            )
        found = await scorer.score(request.model, request.asked(), cut=request.truncation)
        values = [value for own in found for value in own.scores]
        data = [{"index": k, "object": "score", "score": own} for k, own in enumerate(values)]
        return {
            "id": f"score-{uuid.uuid4().hex}",
            "object": "list",
            "created": int(time.time()),
            "model": name,
            "data": data,
            "usage": usage(found),
            "meta": meta(found, request.warnings()),
        }

    return app


@dataclass(frozen=True)
class _Scorer:
    """Scores requests that may be scored."""

    ranker: Served
    name: str
    limits: Limits
    batches: Batches
    sigmoid: bool

    async def score(
        self, model: str | None, asked: Sequence[Asked], *, cut: bool
    ) -> list[Answered]:
        """Answers, or the error to be told."""
        if model not in (None, self.name):
            raise HTTPException(404, f"the model {model!r} is not here: {self.name!r} is.")
        documents = sum(len(own.documents) for own in asked)
        if documents > self.limits.documents:
            raise HTTPException(
                400, f"{documents:,} documents in a request: at most {self.limits.documents:,}."
            )
        for own in asked:
            self.ranker.check(own)
        try:
            found = await self.batches.score(asked)
        except BusyError:
            raise
        except Exception as error:
            raise HTTPException(500, _failure(error)) from error
        for answered in found:
            if answered.truncated and not cut:
                places = ", ".join(map(str, answered.truncated[:10]))
                raise HTTPException(
                    400,
                    f"documents {places} are longer than {self._most()}: truncation false refuses"
                    " them.",
                )
        return [self._finite(answered) for answered in found]

    def _most(self) -> str:
        """What is read of a document."""
        longest = self.ranker.longest
        return "is read" if longest is None else f"the {longest:,} tokens that are read"

    def _finite(self, found: Answered) -> Answered:
        """Scores as they are given; one that is no number is the ranker's failure."""
        for place, score in enumerate(found.scores):
            if not math.isfinite(score):
                raise HTTPException(500, f"the ranker gives document {place} no finite score.")
        if not self.sigmoid:
            return found
        scores = tuple(_sigmoid(score) for score in found.scores)
        return replace(found, scores=scores)


def _sigmoid(score: float) -> float:
    """1 / (1 + exp(-score)), for large numbers too."""
    share = 1 / (1 + math.exp(-abs(score)))
    return share if score >= 0 else 1 - share


def _failure(error: Exception) -> str:
    """What is told of a failure inside."""
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "out of memory: send fewer or shorter documents."
    return f"the ranker failed ({type(error).__name__}): the server's own output says more."


def _answer_errors(app: FastAPI) -> None:
    """Every error in the shape that clients read."""

    def answer(code: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
        return JSONResponse(error_body(code, message), code, headers)

    @app.exception_handler(HTTPException)
    async def _(_: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(BusyError)
    async def _(_: Request, error: BusyError) -> JSONResponse:
        return answer(503, str(error), {"Retry-After": "1"})

    @app.exception_handler(EvidenceError)
    async def _(_: Request, error: EvidenceError) -> JSONResponse:
        return answer(422, str(error))

    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return answer(400, "the request is no JSON.")
        place = ".".join(str(part) for part in first["loc"][1:3])
        said = f"{place}: {first['msg']}" if place else first["msg"]
        if "json" not in request.headers.get("content-type", ""):
            said += " (is it sent as Content-Type: application/json?)"
        return answer(422, said)

    @app.exception_handler(Exception)
    async def _(_: Request, error: Exception) -> JSONResponse:
        return answer(500, _failure(error))


class _Doorkeeper:
    """Lets in what bears the key and is no longer than the limit."""

    def __init__(self, app: Any, limit: int, key: str | None) -> None:
        self.app, self.limit, self.key = app, limit, key

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if scope["path"] != "/health" and not self._knows(headers.get(b"authorization", b"")):
            body = error_body(401, "the key is missing or wrong: Authorization: Bearer KEY.")
            await JSONResponse(body, 401)(scope, receive, send)
            return
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self.limit:
            body = error_body(413, self._too_long())
            await JSONResponse(body, 413, {"Connection": "close"})(scope, receive, send)
            return
        seen = 0

        async def measured() -> Any:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.limit:
                raise HTTPException(413, self._too_long())
            return message

        await self.app(scope, measured, send)

    def _knows(self, told: bytes) -> bool:
        if self.key is None:
            return True
        return hmac.compare_digest(told, b"Bearer " + self.key.encode())

    def _too_long(self) -> str:
        return f"the request is longer than {self.limit:,} bytes: send fewer documents at once."
