"""``policyrank serve``: a trained ranker behind the rerank APIs that people's systems speak."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from policyrank.cli.options import AtLeastOne, Flag, Whole
from policyrank.cli.output import say
from policyrank.cli.ranker_reading import RANKER, ReadAs
from policyrank.cli.rerank_endpoint import AtEndpoint
from policyrank.cli.rerank_language import Ordering
from policyrank.errors import OptionError

if TYPE_CHECKING:
    import socket

    from policyrank.train.served import Served

SERVER = Group("The server", sort_key=7)
LIMITS = Group("What it takes", sort_key=8)
LOCAL = ("127.0.0.1", "localhost", "::1")


def serve_ranker(
    ranker: str,
    /,
    *,
    sigmoid: Annotated[Flag, Parameter(group=RANKER)] = False,
    host: Annotated[str, Parameter(group=SERVER)] = "127.0.0.1",
    port: Annotated[Whole, Parameter(group=SERVER, validator=Number(gte=0, lte=65_535))] = 8000,
    key: Annotated[str | None, Parameter(group=SERVER)] = None,
    served_model: Annotated[str | None, Parameter(group=SERVER)] = None,
    max_documents: Annotated[AtLeastOne, Parameter(group=LIMITS)] = 1000,
    max_megabytes: Annotated[AtLeastOne, Parameter(group=LIMITS)] = 16,
    max_waiting: Annotated[AtLeastOne, Parameter(group=LIMITS)] = 256,
    read: ReadAs = ReadAs(),
    asked: Ordering = Ordering(),
) -> None:
    """Serve a trained ranker, or a language model: POST /v1/rerank and /v1/score.

    As Cohere, Jina and vLLM have them; /health and /v1/models beside. Requests that come at the
    same time are scored together. Ctrl-C or SIGTERM ends it once what is under way is answered.

    Parameters
    ----------
    ranker
        What `policyrank train ranker` wrote (of texts a folder, adapters too; of features a file),
        or with --kind a sentence-transformers folder or hub name; with --method a causal language
        model.
    sigmoid
        Scores between 0 and 1, as 1 / (1 + exp(-score)); otherwise as `policyrank rerank` has them.
    host
        Address to listen at; 0.0.0.0 for other machines.
    port
        0 takes a free one.
    key
        Environment variable with the key that requests must bear.
    served_model
        What the model is called (the ranker's file or folder).
    max_documents
        Documents of a request.
    max_megabytes
        Length of a request.
    max_waiting
        Requests that wait; more are told to come again.
    """
    from policyrank._rooms import require

    for module in ("fastapi", "uvicorn"):
        require(module, "a server")
    if "://" in ranker:
        raise OptionError("what is served is a file or folder here, or a name of the hub.")
    asked.check(ranker)
    if asked.method is not None and sigmoid:
        raise OptionError("--sigmoid is of scores of encoders and of features: leave it out.")
    secret = _secret(key)
    listening = _listening(host, port)
    from policyrank.train.serving import Limits, rerank_app

    served = _loaded(ranker, read, asked)
    name = served_model or Path(ranker).name
    limits = Limits(max_documents, max_megabytes * 2**20, max_waiting)
    app = rerank_app(served, name, limits=limits, key=secret, sigmoid=sigmoid, report=say)
    if host not in LOCAL and secret is None:
        say(f"! whoever reaches {host} can use it: --key asks for one")
    _run(app, listening, name, served.kind)


def _secret(key: str | None) -> str | None:
    if key is None:
        return None
    if not os.environ.get(key):
        raise OptionError(f"--key: the environment variable {key} with the key is not set.")
    return os.environ[key]


def _listening(host: str, port: int) -> socket.socket:
    """A socket that is bound, so that an address that is taken is told before a model loads."""
    import socket

    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(place)
    except OSError as error:
        why = error.strerror or error
        raise OptionError(f"--host {host} --port {port}: {why}. Name another.") from None
    return found


def _loaded(ranker: str, read: ReadAs, asked: Ordering) -> Served:
    """A ranker of texts, or of features where it is a file, or a language model that is asked."""
    if asked.method is not None:
        from policyrank.train.served_language import ServedLanguage

        read.refuse("encoders", but=("dtype",))
        orders, _ = asked.ranker(ranker, AtEndpoint(), read.dtype)
        return ServedLanguage(orders)
    from policyrank.train.saved_rankers import load_feature_ranker, load_text_ranker
    from policyrank.train.served import ServedFeatures, ServedTexts
    from policyrank.train.text_rankers import CrossEncoderRanker

    if Path(ranker).is_file():
        read.refuse("rankers of texts")
        return ServedFeatures(load_feature_ranker(ranker))
    module = load_text_ranker(ranker, **read.told(), report=say)
    reads_pairs = isinstance(module, CrossEncoderRanker)
    return ServedTexts(module, "cross-encoder" if reads_pairs else "bi-encoder")


def _run(app: Any, listening: socket.socket, name: str, kind: str) -> None:
    """Serve until a signal comes."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=30,
    )
    listening.listen(config.backlog)
    host, port = listening.getsockname()[:2]
    at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    say(f"{name} ({kind}) at http://{at}: POST /v1/rerank, /v1/score; GET /health, /v1/models")
    # The server ends well on a signal, and then raises it again.
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])
    finally:
        signal.signal(signal.SIGTERM, before)
    say("stopped")
