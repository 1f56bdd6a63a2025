"""Changes that overtake each other, and what must hold whatever the order: every reference has its resource."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from typing import Any

from sovereign_ext.storage.resources import ResourceStore
from sovereign_ext.tlog.service import TransparencyLog


def overtaken(log: TransparencyLog, by: Callable[[], Awaitable[Any]]) -> None:
    """The next change through ``log`` is made after ``by`` is: judged before it, committed after it."""
    change = log.change

    async def late(*change_and_entry: Any) -> Any:
        del log.change  # type: ignore[method-assign]  # the instance's: from now on it is the method again
        await by()
        return await change(*change_and_entry)

    log.change = late  # type: ignore[method-assign]


def dangling(store: ResourceStore, declared: Collection[str]) -> list[tuple[str, str]]:
    """Who refers to what is neither in the database nor in ``declared``, the names of what the file has."""
    rows = [row for row in store.since(-1) if not row.deleted]
    there = {row.name for row in rows} | set(declared)
    documents = {row.name: json.loads(row.document) for row in rows}
    found = [
        (name, named)
        for name, document in documents.items()
        for named in _named(name, document)
        if named not in there
    ]
    claims = [each for document in documents.values() for each in document.get("identities", ())]
    return [*found, *(("workloads", each) for each in set(claims) if claims.count(each) > 1)]


def _named(name: str, document: Mapping[str, Any]) -> Iterator[str]:
    collection, _, rest = name.partition("/")
    if "/" in rest:  # what belongs to a tenant, an operator or a provider goes with it
        yield f"{collection}/{rest.split('/')[0]}"
    if "/providerKeys/" in name or collection == "providerKeys":
        yield f"providers/{name.rsplit('/', 1)[1]}"
    elif collection == "operators" and document.get("tenant"):
        yield f"tenants/{document['tenant']}"
    elif collection == "tenants" and "/" not in rest:
        yield from (f"policies/{each}" for each in document["policies"])
    elif collection == "policies":
        links = document.get("providers", ())
        yield from (
            f"providers/{each}" for link in links for each in ([link] if isinstance(link, str) else link)
        )
        yield from (f"policies/{each}" for each in document.get("shadows", ()))
    elif "/deployments/" in name:
        yield f"models/{document['model']}"
