"""verl's trainer where what it samples and loads data with is not installed."""

import sys
from importlib.util import find_spec
from unittest.mock import MagicMock

LACKING = ("transfer_queue", "torchdata", "aiohttp", "cachetools", "uvicorn", "zmq")
PARTS = {"torchdata": ["stateful_dataloader"], "zmq": ["asyncio"]}


def importable(monkeypatch):
    """Let ``verl.trainer.ppo.v1`` be imported: what is not there is a stand-in."""
    for name in LACKING:
        if name not in sys.modules and find_spec(name) is None:
            monkeypatch.setitem(sys.modules, name, MagicMock())
            for part in PARTS.get(name, ()):
                monkeypatch.setitem(sys.modules, f"{name}.{part}", MagicMock())
