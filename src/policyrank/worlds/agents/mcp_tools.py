"""Tools of MCP servers (Model Context Protocol), as an agent's own.

Needs the extra ``agents`` (mcp).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from policyrank.errors import MissingExtraError, OptionError
from policyrank.worlds.agents.tool_schemas import Tool, ToolResult

T = TypeVar("T")


class McpTools:
    """The tools of an MCP server, which stays connected until it is closed.

    A call that the server answers with an error raises, as a Python function would: the agent reads
    what was wrong, and the rest goes on.

    Parameters
    ----------
    server
        address (http://.../mcp), or command and arguments of a server that speaks over its standard
        input and output
    names
        tools that the agent may call; None: all
    seconds
        that the server has to start, and for each call
    environment
        further environment variables of a command

    Attributes
    ----------
    tools
        as ``ToolEnvironment`` takes them

    Raises
    ------
    OptionError
        When the server does not start, or has no tool of a name.

    Examples
    --------
    >>> with McpTools(["my-server", "--stdio"]) as server:  # doctest: +SKIP
    ...     world = ToolEnvironment(server.tools, grade)
    """

    def __init__(
        self,
        server: str | Sequence[str],
        *,
        names: Sequence[str] | None = None,
        seconds: float = 30.0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._where = server if isinstance(server, str) else " ".join(server)
        self._seconds, self._client = seconds, _client(server, seconds, environment)
        self._loop = asyncio.new_event_loop()
        self._stop: asyncio.Event | None = None
        self._listed: list[Any] = []
        self._failed: BaseException | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        if not self._ready.wait(seconds) or self._failed is not None:
            why = self._failed or f"no answer in {seconds:g} s"
            self.close()
            raise OptionError(f"the MCP server {self._where} cannot be used: {_first(why)}")
        self.tools = [self._tool(own) for own in self._listed]
        if names is not None:
            self.tools = self._chosen(names)

    def _serve(self) -> None:
        """One task holds the connection from its start to its end, as its library asks."""
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._connected())
        except BaseException as error:  # told to who waits
            self._failed = error
        finally:
            self._ready.set()

    async def _connected(self) -> None:
        self._stop = asyncio.Event()
        async with self._client as client:
            cursor = None
            while True:
                page = await client.list_tools(cursor=cursor)
                self._listed += page.tools
                cursor = page.next_cursor
                if cursor is None:
                    break
            self._ready.set()
            await self._stop.wait()

    def _tool(self, told: Any) -> Tool:
        call = partial(self._call, told.name)
        return Tool(told.name, call, told.description or "", dict(told.input_schema))

    def _chosen(self, names: Sequence[str]) -> list[Tool]:
        found = {tool.name: tool for tool in self.tools}
        strange = [name for name in names if name not in found]
        if strange:
            self.close()
            raise OptionError(
                f"the MCP server {self._where} has no tool {strange[0]!r}; it has"
                f" {', '.join(found)}."
            )
        return [found[name] for name in names]

    def _call(self, name: str, **arguments: Any) -> ToolResult:
        found = self._waited(self._client.call_tool(name, arguments))
        text = "\n".join(_shown(part) for part in found.content)
        if found.is_error:
            raise RuntimeError(text or "the tool failed, and does not say why")
        return ToolResult(text, {"server": self._where})

    def _waited(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of work on the connection's own thread."""
        if not self._thread.is_alive():
            work.close()
            raise RuntimeError(f"the MCP server {self._where} is gone")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(self._seconds)
        except TimeoutError:
            future.cancel()
            raise TimeoutError(f"no answer in {self._seconds:g} s") from None

    def close(self) -> None:
        """Disconnect, and end the server where it was started here."""
        if self._thread.is_alive() and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(10)

    def __enter__(self) -> McpTools:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _client(
    server: str | Sequence[str], seconds: float, environment: Mapping[str, str] | None
) -> Any:
    try:
        from mcp import Client, StdioServerParameters
    except ImportError:
        raise MissingExtraError("MCP servers need mcp: pip install 'policyrank[agents]'") from None
    where: Any = server
    if not isinstance(server, str):
        if not server:
            raise OptionError("the MCP server's command is empty.")
        env = None if environment is None else dict(environment)
        where = StdioServerParameters(command=server[0], args=list(server[1:]), env=env)
    elif "://" not in server:
        raise OptionError(f"{server!r} is no address: give a command as a list of words.")
    return Client(where, read_timeout_seconds=seconds)


def _shown(part: Any) -> str:
    """A part of a result as text; what is none is named, not shown."""
    text = getattr(part, "text", None)
    return text if isinstance(text, str) else f"[{getattr(part, 'type', 'part')} that is no text]"


def _first(error: object) -> str:
    """The innermost error of a group, in a line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return " ".join(str(error).split()) or type(error).__name__
