"""``GET /v1/models`` and ``GET /v1/models/{id}`` in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from sovereign_ext.config.model import Model


def model_object(model: Model) -> dict[str, object]:
    """OpenAI's model object; ``created`` is Unix seconds."""
    return {"id": model.id, "object": "model", "created": model.created, "owned_by": model.owned_by}


def model_list(models: Iterable[Model]) -> bytes:
    """The list of ``models`` as JSON."""
    return msgspec.json.encode({"object": "list", "data": [model_object(model) for model in models]})


def model_document(model: Model) -> bytes:
    """One model as JSON."""
    return msgspec.json.encode(model_object(model))
