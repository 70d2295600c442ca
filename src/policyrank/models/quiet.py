"""Loading without the chatter of libraries, which are left as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO


@contextmanager
def no_bars() -> Iterator[None]:
    """Within, transformers shows no bars; what is printed stays."""
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            logging.enable_progress_bar()


@contextmanager
def quietly() -> Iterator[None]:
    """Within, transformers shows errors only, and no bars; afterwards what it showed before."""
    from transformers.utils import logging

    was = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with no_bars(), redirect_stderr(StringIO()):  # bars that cannot be switched off
            yield
    finally:
        logging.set_verbosity(was)
