"""Tools of a real MCP server: called, timed out, failed, gone."""

import sys

import pytest

pytest.importorskip("mcp")

from policyrank.errors import OptionError
from policyrank.worlds.agents import McpTools, ToolEnvironment

SERVER = """
import os, time
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("things")

@server.tool()
def add(a: int, b: int) -> str:
    \"\"\"Add two numbers.\"\"\"
    return str(a + b)

@server.tool()
def fail(why: str) -> str:
    raise ToolError(why)

@server.tool()
def slow(seconds: float) -> str:
    time.sleep(seconds)
    return "done"

@server.tool()
def leave() -> str:
    os._exit(3)

@server.tool()
def say() -> str:
    return os.environ.get("WORD", "nothing")

server.run("stdio")
"""


@pytest.fixture
def connect(tmp_path):
    """The tools of the server, by name."""
    (tmp_path / "server.py").write_text(SERVER)
    made = []

    def call(**options):
        found = McpTools([sys.executable, str(tmp_path / "server.py")], **options)
        made.append(found)
        return found

    yield call
    for found in made:
        found.close()


def test_an_agent_calls_them(connect):
    server = connect(environment={"WORD": "hello"})
    assert [tool.name for tool in server.tools] == ["add", "fail", "slow", "leave", "say"]
    tool = server.tools[0]
    assert tool.about == "Add two numbers."
    assert set(tool.parameters["properties"]) == {"a", "b"}
    world = ToolEnvironment(server.tools, lambda answer, row: float(answer == row["label"]))
    world.reset({"label": "7"})

    def read(name, **arguments):
        told = str(arguments).replace("'", '"')
        step = world.step(f'<tool_call>{{"name": "{name}", "arguments": {told}}}</tool_call>')
        return step.observation[0]["content"], step.info.get("troubles", ())

    assert read("add", a=3, b=4) == ("7", ())
    assert read("say")[0] == "hello"
    text, trouble = read("add", a="x", b=4)
    assert "integer" in text
    assert trouble
    text, trouble = read("fail", why="because")
    assert "because" in text
    assert trouble
    assert world.step("7").reward == 1


def test_what_takes_too_long_or_is_gone_raises_and_the_rest_goes_on(connect):
    server = connect(seconds=20, names=["slow", "add", "leave"])
    slow, add, leave = server.tools
    server._seconds = 0.5
    with pytest.raises(TimeoutError, match=r"no answer in 0\.5 s"):
        slow.call(seconds=2.0)
    server._seconds = 20
    assert add.call(a=1, b=5).text == "6"
    with pytest.raises(Exception, match="closed"):
        leave.call()
    with pytest.raises(Exception, match=r"closed|gone"):
        add.call(a=1, b=5)
    server.close()
    with pytest.raises(RuntimeError, match="is gone"):
        add.call(a=1, b=5)


def test_servers_that_cannot_be_used_are_named(connect, tmp_path):
    with pytest.raises(OptionError, match="no tool 'sing'; it has add, fail"):
        connect(names=["sing"])
    with pytest.raises(OptionError, match="nosuchcommand cannot be used"):
        McpTools(["nosuchcommand"])
    with pytest.raises(OptionError, match="cannot be used"):
        McpTools([sys.executable, "-c", "pass"], seconds=10)
    with pytest.raises(OptionError, match="command is empty"):
        McpTools([])
    with pytest.raises(OptionError, match="is no address"):
        McpTools("my-server --stdio")
