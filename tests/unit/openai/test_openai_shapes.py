"""Chunks, errors and models in the shapes that OpenAI's SDK parses."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Model as SdkModel
from openai.types.chat import ChatCompletionChunk

from sovereign_ext.config.model import Model
from sovereign_ext.errors import CallerError, ServiceError
from sovereign_ext.openai.chunks import ChunkWriter, usage_object
from sovereign_ext.openai.envelope import error_headers, error_object
from sovereign_ext.openai.models import model_document, model_list


def all_chunks(writer: ChunkWriter) -> list[bytes]:
    return [
        writer.role(),
        writer.content('He said "北🌍"\n'),
        writer.reasoning("hm"),
        writer.tool_call(0, "call_1", "look"),
        writer.tool_arguments(0, '{"a":'),
        writer.tool_arguments(0, "1}"),
        writer.finish("tool_calls"),
    ]


@pytest.mark.parametrize("include_usage", [False, True])
def test_chunks(include_usage: bool):
    """Case 30: one id, created and model; role first. Case 27: ``usage: null`` only when asked for."""
    writer = ChunkWriter("chatcmpl-1", 17, "org/model", include_usage=include_usage)
    found = [json.loads(chunk) for chunk in all_chunks(writer)]
    for chunk in found:
        ChatCompletionChunk.model_validate(chunk, strict=True)
        assert (chunk["id"], chunk["created"], chunk["model"]) == ("chatcmpl-1", 17, "org/model")
        assert ("usage" in chunk) == include_usage
        assert chunk.get("usage") is None
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [chunk["choices"][0]["finish_reason"] for chunk in found] == [None] * 6 + ["tool_calls"]


def test_usage_chunk():
    """The usage chunk has no choices; total is the sum."""
    writer = ChunkWriter("chatcmpl-1", 17, "m", include_usage=True)
    chunk = ChatCompletionChunk.model_validate(json.loads(writer.usage(usage_object(7, 5))), strict=True)
    assert chunk.choices == []
    assert chunk.usage is not None
    assert chunk.usage.total_tokens == 12


@given(st.text(), st.text(), st.integers(0, 2**31))
def test_any_text(text: str, model: str, created: int):
    """Whatever the text, a chunk is one line of valid JSON that says it."""
    writer = ChunkWriter("id", created, model, include_usage=False)
    chunk = writer.content(text)
    assert b"\n" not in chunk
    assert b"\r" not in chunk
    parsed = json.loads(chunk)
    assert parsed["choices"][0]["delta"]["content"] == text
    assert parsed["model"] == model


def test_error_object():
    """OpenAI's four members, always all of them."""
    error = CallerError(400, 'no "x"', param="x", code="invalid_value")
    assert json.loads(error_object(error)) == {
        "error": {"message": 'no "x"', "type": "invalid_request_error", "param": "x", "code": "invalid_value"}
    }


@pytest.mark.parametrize(("wait_s", "header"), [(0.0, "1"), (0.2, "1"), (2.0, "2"), (2.1, "3")])
def test_retry_headers(wait_s: float, header: str):
    """``Retry-After`` is whole seconds, never too early; the SDKs are told whether a retry may help."""
    headers = dict(error_headers(ServiceError(503, "m", code="c", retry_after_s=wait_s)))
    assert headers["retry-after"] == header
    assert headers["x-should-retry"] == "true"
    assert dict(error_headers(CallerError(403, "m")))["x-should-retry"] == "false"
    assert "retry-after" not in dict(error_headers(CallerError(403, "m")))


def test_models():
    """The list and the single object parse as the SDK's models."""
    models = [Model(id="a/b", created=5, owned_by="x"), Model(id="c")]
    listed = json.loads(model_list(models))
    assert listed["object"] == "list"
    assert [SdkModel.model_validate(each).id for each in listed["data"]] == ["a/b", "c"]
    assert SdkModel.model_validate(json.loads(model_document(models[0]))).owned_by == "x"
