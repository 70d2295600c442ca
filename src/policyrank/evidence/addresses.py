"""Addresses of databases and files, shown without what is secret in them."""

from __future__ import annotations

import re
from urllib.parse import unquote, unquote_plus

SECRETS = (
    r"pass\w*|pwd|\w*password\w*|\w*tokens?|\w*secrets?|\w*signature|sig|sas|\w*keys?"
    r"|auth\w*|code|jwt|bearer|\w*credentials?|odbc_connect"
)
_USER = re.compile(r"(?<=://)([^/:@]*):(.*)@(?=[^@]*$)")
_ALONE = re.compile(r"(?<=^http://)[^/:@]+(?=@)|(?<=^https://)[^/:@]+(?=@)")
_QUERY = re.compile(rf"(?i)([?&;#](?:[\w.-]*[-_.])?(?:{SECRETS})=)([^&;#]*)")


def _parts(address: object) -> tuple[str, str]:
    """An address up to its query, and that; a question mark before the host is a password's."""
    head, mark, query = str(address).partition("?")
    if "@" in head or "@" not in query:
        return head, mark + query
    return str(address), ""


def shown_address(address: object) -> str:
    """An address whose passwords are stars.

    Examples
    --------
    >>> shown_address("postgresql://me:p@ss/w@host/name?sslpassword=x&a=1")
    'postgresql://me:***@host/name?sslpassword=***&a=1'
    >>> shown_address("results.db")
    'results.db'
    """
    head, query = _parts(address)
    hidden = _ALONE.sub("***", _USER.sub(r"\1:***@", head))
    return _QUERY.sub(r"\1***", hidden + query)


def without_secrets(text: str, address: object) -> str:
    """A text, such as a driver's error, in which the passwords of an address are stars.

    Examples
    --------
    >>> without_secrets("no user me with p%40ss, or p@ss", "postgresql://me:p%40ss@host/name")
    'no user me with ***, or ***'
    """
    head, query = _parts(address)
    found = [match[2] for match in (*_USER.finditer(head), *_QUERY.finditer(head + query))]
    found += [match[0] for match in _ALONE.finditer(head)]
    forms = {form for own in found for form in (own, unquote(own), unquote_plus(own)) if form}
    for secret in sorted(forms, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text
