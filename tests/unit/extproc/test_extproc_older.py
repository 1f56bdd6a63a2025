"""What an Envoy below 1.40 is told besides: where each attempt goes, and that trailers may pass."""

from __future__ import annotations

import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from test_extproc_credentials import OWN, Call, Keys, Pipe, request, scenario, sent

from sovereign_ext.envoyconf.names import EXCHANGE_HEADER, TARGET_HEADER, provider_cluster
from sovereign_ext.extproc.attempt_stream import AttemptStream


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("chosen", [True, False])
def test_an_attempt_without_a_target_is_given_that_of_its_place_in_the_plan(
    number: int, chosen: bool
) -> None:
    """An Envoy that has chosen is not asked to look for a route again."""

    async def run() -> None:
        call, pipe = Call(Keys(at_hand=OWN)), Pipe()
        exchange = await call.decide()
        assert exchange.decision is not None
        expected = provider_cluster(exchange.decision.plan[number - 1].provider)
        head = {EXCHANGE_HEADER: exchange.decision_id, "x-envoy-attempt-count": str(number)}
        attempt = AttemptStream(call.gateway, pipe)  # type: ignore[arg-type]
        attempt.message(request(head | ({TARGET_HEADER: expected} if chosen else {})))
        common = pipe.sent[0].request_headers.response
        given = {each.header.key: each.header.raw_value for each in common.header_mutation.set_headers}
        assert common.clear_route_cache != chosen
        assert given.get(TARGET_HEADER) == (None if chosen else expected.encode())
        assert chosen or TARGET_HEADER not in common.header_mutation.remove_headers

    scenario(run)


def test_trailers_of_a_response_pass() -> None:
    async def run() -> None:
        stream, pipe = Call(Keys(at_hand=OWN)).ask()
        message = pb.ProcessingRequest()
        message.response_trailers.SetInParent()
        stream.message(message.SerializeToString())
        assert sent(pipe)[-1] == "response_trailers"

    scenario(run)
