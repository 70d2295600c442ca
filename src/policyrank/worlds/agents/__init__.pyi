from .gymnasium_text import GymnasiumText as GymnasiumText
from .mcp_tools import McpTools as McpTools
from .program_repair import (
    REPAIR as REPAIR,
    ProgramRepair as ProgramRepair,
)
from .searching import (
    INFORMATION as INFORMATION,
    SEARCH_TAGS as SEARCH_TAGS,
    SEARCH_TOOLS as SEARCH_TOOLS,
    Find as Find,
    answer_grade as answer_grade,
    right_answers as right_answers,
    search_environment as search_environment,
)
from .stepping import (
    TROUBLES as TROUBLES,
    Environment as Environment,
    Observation as Observation,
    Step as Step,
    TurnRecord as TurnRecord,
    as_step as as_step,
)
from .text_games import (
    PLAY as PLAY,
    TextGame as TextGame,
)
from .tool_calls import (
    CALL_STYLES as CALL_STYLES,
    CallStyle as CallStyle,
    ToolCall as ToolCall,
    named_call_style as named_call_style,
)
from .tool_schemas import (
    Tool as Tool,
    ToolResult as ToolResult,
    tool_of as tool_of,
)
from .tool_use import (
    Grade as Grade,
    ToolEnvironment as ToolEnvironment,
)

__all__ = [
    "CALL_STYLES",
    "INFORMATION",
    "PLAY",
    "REPAIR",
    "SEARCH_TAGS",
    "SEARCH_TOOLS",
    "TROUBLES",
    "CallStyle",
    "Environment",
    "Find",
    "Grade",
    "GymnasiumText",
    "McpTools",
    "Observation",
    "ProgramRepair",
    "Step",
    "TextGame",
    "Tool",
    "ToolCall",
    "ToolEnvironment",
    "ToolResult",
    "TurnRecord",
    "answer_grade",
    "as_step",
    "named_call_style",
    "right_answers",
    "search_environment",
    "tool_of",
]
