from .gymnasium_text import GymnasiumText as GymnasiumText
from .stepping import (
    TROUBLES as TROUBLES,
    Environment as Environment,
    Observation as Observation,
    Step as Step,
    TurnRecord as TurnRecord,
    as_step as as_step,
)
from .tool_calls import (
    CALL_STYLES as CALL_STYLES,
    CallStyle as CallStyle,
    ToolCall as ToolCall,
    named_call_style as named_call_style,
)
from .tool_schemas import (
    Tool as Tool,
    tool_of as tool_of,
)
from .tool_use import (
    Grade as Grade,
    ToolEnvironment as ToolEnvironment,
)

__all__ = [
    "CALL_STYLES",
    "TROUBLES",
    "CallStyle",
    "Environment",
    "Grade",
    "GymnasiumText",
    "Observation",
    "Step",
    "Tool",
    "ToolCall",
    "ToolEnvironment",
    "TurnRecord",
    "as_step",
    "named_call_style",
    "tool_of",
]
