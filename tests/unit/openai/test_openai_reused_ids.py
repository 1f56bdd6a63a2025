"""Ids of tool calls that a client uses again: legal where every result follows its call, and other providers want them
to differ."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.openai.conversation import AssistantTurn, UserTurn, read_conversation


def calling(*ids: str) -> dict[str, Any]:
    calls = [{"id": id_, "type": "function", "function": {"name": f"f-{id_}"}} for id_ in ids]
    return {"role": "assistant", "tool_calls": calls}


@given(
    st.lists(
        st.lists(
            st.sampled_from(["a", "b", "a.1", "a.2", "call_legacy1"]), min_size=1, max_size=3, unique=True
        ),
        min_size=1,
        max_size=5,
    ),
    st.randoms(),
)
def test_every_result_finds_its_call(turns: list[list[str]], chance: Any) -> None:
    """Whatever ids come again, also such as are made here: all differ, and results keep to the calls of their turn."""
    messages: list[dict[str, Any]] = []
    for number, ids in enumerate(turns):
        messages.append(calling(*ids))
        results = [{"role": "tool", "tool_call_id": id_, "content": f"{number} {id_}"} for id_ in ids]
        chance.shuffle(results)
        messages += results
    read = read_conversation({"messages": messages}).turns
    seen: list[str] = []
    for number, ids in enumerate(turns):
        asked, answered = read[2 * number : 2 * number + 2]
        assert isinstance(asked, AssistantTurn)
        assert isinstance(answered, UserTurn)
        assert [call.name for call in asked.calls] == [f"f-{id_}" for id_ in ids]
        assert [result.id for result in answered.results] == [call.id for call in asked.calls]
        assert [result.text for result in answered.results] == [f"{number} {id_}" for id_ in ids]
        seen += [call.id for call in asked.calls]
    assert len(set(seen)) == len(seen)
    assert seen[: len(turns[0])] == turns[0]  # what need not be changed is not
