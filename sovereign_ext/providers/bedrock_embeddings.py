"""Embeddings on Bedrock: ``InvokeModel`` with the bodies of Amazon Titan and of Cohere.

Sources: Bedrock user guide, "Amazon Titan Text Embeddings" and "Cohere Embed". Titan takes one text a call; to call it
several times for one request is not done, because one call has one entry in the log. Images are not embedded.
"""

from __future__ import annotations

from typing import Any, Final

from sovereign_ext.errors import CallerError
from sovereign_ext.openai.conversation import invalid, unsupported
from sovereign_ext.openai.request import Request
from sovereign_ext.providers import _shared
from sovereign_ext.providers._vectors import dimensions_of, embeddings, texts_of
from sovereign_ext.providers.base import Answer, StreamFault
from sovereign_ext.providers.bedrock_models import EmbeddingRules, embedding_rules_of

_INPUT_TYPES: Final = ("search_document", "search_query", "classification", "clustering")


def embed_body(request: Request, model: str) -> dict[str, Any]:
    """The body of ``/invoke``. Raises ``CallerError``.

    Cohere wants to know what the vectors are for; OpenAI's request does not say it, so documents are assumed. A client
    that knows better sends Cohere's own ``input_type``.
    """
    rules = embedding_rules_of(model)
    if rules is None:
        raise CallerError(
            400, "This model's provider does not embed with it.", param="model", code="unsupported_value"
        )
    texts = texts_of(request)
    if len(texts) > rules.many:
        raise CallerError(
            400, f"This model's provider embeds at most {rules.many} text(s) in one request, not {len(texts)}.",
            param="input", code="unsupported_value",
        )  # fmt: skip
    body: dict[str, Any] = _cohere(request, texts) if rules.cohere else {"inputText": texts[0]}
    dimensions = dimensions_of(request)
    if dimensions is None:
        return body
    if not rules.dimensions:
        raise unsupported("dimensions")
    return body | {rules.dimensions: dimensions}


def embed_answer(request: Request, model: str, parsed: dict[str, Any]) -> Answer:
    """Translate the body of an answer. Raises ``StreamFault`` if it holds no vectors.

    Cohere counts tokens in a header only, which an adapter does not see: such a call has no usage.
    """
    rules: EmbeddingRules | None = embedding_rules_of(model)
    if rules is not None and rules.cohere:
        found = parsed.get("embeddings")
        vectors = found.get("float") if isinstance(found, dict) else found
        return embeddings(request, vectors, None)
    if "embedding" not in parsed:
        raise StreamFault(_shared.unusable("invalid_answer"))
    return embeddings(request, [parsed["embedding"]], _shared.count(parsed.get("inputTextTokenCount")))


def _cohere(request: Request, texts: list[str]) -> dict[str, Any]:
    purpose = request.values.get("input_type")
    if purpose is not None and purpose not in _INPUT_TYPES:
        raise invalid("input_type", f"one of {', '.join(_INPUT_TYPES)}")
    return {"texts": texts, "input_type": purpose or _INPUT_TYPES[0], "embedding_types": ["float"]}
