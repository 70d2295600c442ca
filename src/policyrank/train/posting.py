"""JSON that is sent to servers of others, again after failures that may pass."""

from __future__ import annotations

import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from policyrank.errors import EvidenceError

T = TypeVar("T")
LONGEST_WAIT = 60.0
"""Seconds between two tries, whatever a server asks for."""

_TOO_LONG = re.compile(
    r"context.{0,8}(length|window|size)|too (long|large|many)|longer than|exceed|must be <="
    r"|must have less than|maximum (allowed )?(length|batch|number)|max_model_len"
)
"""What servers say of a request that is longer than they read."""


class RefusedError(EvidenceError):
    """A server does not take a request, and would not if it came again.

    Attributes
    ----------
    code
        HTTP status
    said
        the beginning of what the server says
    """

    def __init__(self, message: str, code: int = 0, said: str = "") -> None:
        super().__init__(message)
        self.code, self.said = code, said

    @property
    def too_long(self) -> bool:
        """Whether the server says that there is more in the request than it reads."""
        if self.code == 413:
            return True
        return self.code in (400, 422) and _TOO_LONG.search(self.said.lower()) is not None


def check_key(url: str, key: str | None) -> None:
    """Refuse the name of an environment variable that is not set.

    Raises
    ------
    EvidenceError
        Naming the variable.
    """
    if key is not None and key not in os.environ:
        raise EvidenceError(f"{url}: the environment variable {key} with the key is not set.")


def post(
    address: str,
    body: Mapping[str, Any],
    read: Callable[[bytes], T],
    *,
    key: str | None = None,
    retries: int = 5,
    timeout: float = 120.0,
) -> T:
    """What ``read`` makes of a server's reply to a body of JSON.

    Parameters
    ----------
    read
        raises EvidenceError for a reply that it cannot use, which is asked for again
    key
        name of the environment variable with the API key, sent as a bearer token; None: none
    retries
        tries after a failure that may pass (408, 409, 429, 5xx, no connection, a reply that cannot
        be used), waiting 1, 2, 4, ... seconds, or as long as the server says (Retry-After)
    timeout
        seconds without a sign of the server

    Raises
    ------
    RefusedError
        For the other statuses of failure.
    EvidenceError
        When the last try fails, or the address can be none.
    """
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {os.environ[key]}"
    data = json.dumps(body).encode()
    for attempt in range(retries + 1):
        wait = 2.0**attempt
        try:
            request = urllib.request.Request(address, data, headers)
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return read(answer.read())
        except urllib.error.HTTPError as error:
            said = _said(error)
            why = f"{error.code} {said}"
            if error.code not in (408, 409, 429) and error.code < 500:
                raise RefusedError(_failed(address, why), error.code, said) from None
            wait = _asked_wait(error, wait)
        except EvidenceError as error:
            why = str(error)
        except (OSError, http.client.HTTPException) as error:
            why = str(error) or type(error).__name__
        except ValueError as error:  # an address, or a key, that cannot be one
            why = str(error)
            break
        if attempt < retries:
            time.sleep(min(wait, LONGEST_WAIT))
    raise EvidenceError(_failed(address, why))


def _failed(address: str, why: str) -> str:
    return (
        f"{address}: {why.rstrip('.')}. Answers had so far are kept where a cache is named; run it"
        " again."
    )


def _said(error: urllib.error.HTTPError) -> str:
    """The beginning of what a server says of a failure."""
    try:
        return error.read(2000).decode(errors="replace")[:400]
    except (OSError, http.client.HTTPException):
        return ""


def _asked_wait(error: urllib.error.HTTPError, usual: float) -> float:
    """Seconds that a server asks to wait, or the usual ones."""
    asked = error.headers.get("Retry-After", "") if error.headers else ""
    return float(asked) if asked.isascii() and asked.isdigit() else usual
