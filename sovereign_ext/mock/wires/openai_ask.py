"""Read OpenAI's chat request into an ``Ask``.

Messages, limits, tools in all three generations, response formats.
"""

from __future__ import annotations

from typing import Any

from sovereign_ext.errors import CallerError
from sovereign_ext.mock.answer import Ask, Tool, texts, tokens_of
from sovereign_ext.mock.wires.base import objects, optional_int, schema_of, strings


def ask_of(body: dict[str, Any]) -> Ask:
    """OpenAI's chat request without its spelling."""
    messages = objects(body["messages"])
    last = messages[-1]
    tools, must, named = _tools(body)
    form = body.get("response_format")
    form = form if isinstance(form, dict) else {}
    described = form.get("json_schema")
    return Ask(
        text="".join(texts(last.get("content"))) if last.get("role") == "user" else _after_result(messages),
        prompt_tokens=tokens_of([text for message in messages for text in texts(message.get("content"))]),
        max_tokens=optional_int(body, "max_completion_tokens", "max_tokens"),
        stop=strings(body.get("stop")),
        tools=tools,
        must_call=must,
        named=named,
        parallel=body.get("parallel_tool_calls") is not False and "functions" not in body,
        json_schema=schema_of(described.get("schema")) if isinstance(described, dict) else None,
        json_object=form.get("type") == "json_object",
    )


def _after_result(messages: list[dict[str, Any]]) -> str:
    """After a tool result, talk about the result, without calling again for the words that led to it."""
    result = "".join(texts(messages[-1].get("content")))
    return f"the result {result}" if messages[-1].get("role") in ("tool", "function") else result


def _tools(body: dict[str, Any]) -> tuple[tuple[Tool, ...], bool, str | None]:
    """The tools that may be called, whether one must be, and which."""
    if "functions" in body:
        tools = tuple(_function(one) for one in objects(body["functions"]))
        wish = body.get("function_call")
    else:
        tools = tuple(_tool(one) for one in objects(body.get("tools")))
        wish = body.get("tool_choice")
    if wish == "none":
        return (), False, None
    if isinstance(wish, dict) and wish.get("type") == "allowed_tools":
        allowed = schema_of(wish.get("allowed_tools"))
        names = {_tool(one).name for one in objects(allowed.get("tools"))}
        return tuple(tool for tool in tools if tool.name in names), allowed.get("mode") == "required", None
    if isinstance(wish, dict):
        named = _tool(wish).name if "function" in wish or "custom" in wish else str(wish.get("name", ""))
        if named not in {tool.name for tool in tools}:
            raise CallerError(
                400, f"Tool choice '{named}' not found in 'tools' parameter.", param="tool_choice"
            )
        return tools, True, named
    return tools, wish == "required", None


def _tool(value: dict[str, Any]) -> Tool:
    if value.get("type") == "custom":
        return Tool(str(schema_of(value.get("custom")).get("name", "")), custom=True)
    return _function(schema_of(value.get("function")))


def _function(value: dict[str, Any]) -> Tool:
    return Tool(str(value.get("name", "")), schema_of(value.get("parameters")))
