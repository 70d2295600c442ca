"""Addresses of databases and files, shown without what is secret in them."""

from __future__ import annotations

import re
from urllib.parse import unquote

SECRETS = r"password|passwd|passphrase|pwd|sslpassword|token|secret|signature|sig|key|api_?key"
_USER = re.compile(r"(?<=://)([^/\s]*?):([^\s]*)@(?=[^@\s]*$)")
_QUERY = re.compile(rf"(?i)([?&;](?:[\w.-]*[_.-])?(?:{SECRETS})=)([^&;\s]*)")


def shown_address(address: object) -> str:
    """An address whose passwords are stars.

    Examples
    --------
    >>> shown_address("postgresql://me:p@ss/w@host/name?sslpassword=x&a=1")
    'postgresql://me:***@host/name?sslpassword=***&a=1'
    >>> shown_address("results.db")
    'results.db'
    """
    return _QUERY.sub(r"\1***", _USER.sub(r"\1:***@", str(address)))


def without_secrets(text: str, address: object) -> str:
    """A text, such as a driver's error, in which the passwords of an address are stars.

    Examples
    --------
    >>> without_secrets("no user me with p%40ss, or p@ss", "postgresql://me:p%40ss@host/name")
    'no user me with ***, or ***'
    """
    whole = str(address)
    found = [match[2] for pattern in (_USER, _QUERY) for match in pattern.finditer(whole)]
    for secret in {form for own in found for form in (own, unquote(own)) if form}:
        text = text.replace(secret, "***")
    return text
