"""Headers that Envoy itself writes on what passes: a header is set to a value, whatever it was before.

Deliberately not here: headers that are only added, and names that are taken away (``routes``).
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation as Mutation
from envoy_data_plane.envoy.config.core.v3 import (
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
)
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import HeaderMutation, Mutations
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.google.protobuf import Any


def overwrite(key: str, value: str) -> HeaderValueOption:
    """``value`` may have Envoy's substitutions (``%...%``)."""
    return HeaderValueOption(
        header=HeaderValue(key=key, value=value),
        append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def on_requests(name: str, key: str, value: str) -> HttpFilter:
    """A filter of that name, which sets the header on every request."""
    return _filter(name, Mutations(request_mutations=[Mutation(append=overwrite(key, value))]))


def on_responses(name: str, key: str, value: str) -> HttpFilter:
    """A filter of that name, which sets the header on every response."""
    return _filter(name, Mutations(response_mutations=[Mutation(append=overwrite(key, value))]))


def _filter(name: str, mutations: Mutations) -> HttpFilter:
    return HttpFilter(name=name, typed_config=Any.pack(HeaderMutation(mutations=mutations)))
