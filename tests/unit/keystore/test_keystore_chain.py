"""Whose key is used, how long it is kept, and what happens when a link cannot be asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keystore_world import Clock, Told, chain, provider, text

from sovereign_ext.config.model import Provider, ProviderKind
from sovereign_ext.keystore.base import (
    SHARED,
    CredentialMissingError,
    CredentialUnavailableError,
    Found,
    Minted,
    fingerprint,
)
from sovereign_ext.keystore.chain import Chain
from sovereign_ext.secret import Secret

DENIED = CredentialUnavailableError("denied", "the link said no")
P = provider()


def scenario(run: Callable[[], Awaitable[None]]) -> None:
    async def begin() -> None:
        await run()

    asyncio.run(begin())


async def settled() -> None:
    """Let every task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


# -- whose key ---------------------------------------------------------------------------------------------------

ANSWERS = st.sampled_from(["key", None, "down"])


@given(
    own=st.lists(ANSWERS, min_size=3, max_size=3),
    shared=st.lists(ANSWERS, min_size=3, max_size=3),
    declared=st.booleans(),
)
def test_the_first_that_has_one_and_nothing_behind_one_that_is_down(
    own: list[str | None], shared: list[str | None], declared: bool
) -> None:
    """The order of the ADR against the chain: own keys link by link, then shared ones, then the declared one."""
    sources = []
    for number in range(3):
        holds: dict[tuple[str, str], Any] = {}
        for owner, kinds in (("acme", own), (SHARED, shared)):
            what = kinds[number]
            if what is not None:
                holds[owner, "p"] = DENIED if what == "down" else f"{owner}-{number}"
        sources.append(Told(f"link{number}", holds))
    wanted: str | None = "declared" if declared else None
    source: str | None = "declared" if declared else None
    for owner, kinds in ((SHARED, shared), ("acme", own)):  # from the weakest to the strongest
        for number in reversed(range(3)):
            if kinds[number] is not None:
                wanted = "down" if kinds[number] == "down" else f"{owner}-{number}"
                source = f"link{number}"

    async def run() -> None:
        target = provider(env="KEY") if declared else provider()
        keys = chain(*sources, environ={"KEY": "declared"})
        if wanted == "down":
            with pytest.raises(CredentialUnavailableError) as caught:
                await keys.fetch("acme", target)
            assert caught.value.reason == "denied"
            return
        found = await keys.fetch("acme", target)
        assert (text(found), found.source) == (wanted, source)
        assert found.own == (wanted is not None and wanted.startswith("acme"))
        assert found.fingerprint == (None if wanted is None else fingerprint(Secret(wanted)))

    scenario(run)


def test_another_tenant_s_key_is_never_found() -> None:
    """Neither by name nor by what was kept for the other."""

    async def run() -> None:
        keys = chain(Told(holds={("acme", "p"): "acme-key", ("mayo", "q"): "mayo-key"}))
        assert text(await keys.fetch("acme", P)) == "acme-key"
        assert text(await keys.fetch("mayo", P)) is None
        assert text(await keys.fetch("acme", provider("q"))) is None

    scenario(run)


def test_a_kind_that_cannot_do_without() -> None:
    """`bedrock` without a minter and without a key is missing one; the text says who was asked."""

    async def run() -> None:
        needs = provider("b", ProviderKind.BEDROCK, aws={"region": "us-east-1"})
        with pytest.raises(CredentialMissingError, match=r"acme for b: asked here, there; "):
            await chain(Told("here"), Told("there")).fetch("acme", needs)

    scenario(run)


@pytest.mark.parametrize("value", ["sk\nx-other: 1", "sk\x00", "schlüssel"])
def test_a_key_that_no_header_can_hold(value: str) -> None:
    """Wherever it came from, it is refused before it could become a second header."""

    async def run() -> None:
        with pytest.raises(CredentialUnavailableError, match="no header may") as caught:
            await chain(Told(holds={("acme", "p"): value})).fetch("acme", P)
        assert value not in str(caught.value)

    scenario(run)


# -- kept --------------------------------------------------------------------------------------------------------


def test_kept_until_its_time_is_over() -> None:
    """`ready` gives what was fetched without asking; after `ttl_s` it has to be fetched again."""

    async def run() -> None:
        clock, source = Clock(), Told(holds={("acme", "p"): "one"})
        keys = chain(source, clock=clock, ttl_s=100.0)
        assert keys.ready("acme", P) is None
        found = await keys.fetch("acme", P)
        asked = len(source.asked)
        clock.now += 89.0
        assert keys.ready("acme", P) is found
        assert await keys.fetch("acme", P) is found
        assert len(source.asked) == asked
        clock.now += 11.0
        assert keys.ready("acme", P) is None
        source.holds["acme", "p"] = "two"
        assert text(await keys.fetch("acme", P)) == "two"

    scenario(run)


def test_renewed_in_the_background_before_it_ends() -> None:
    """In its last tenth the old value is still given, while one search brings the new one."""

    async def run() -> None:
        clock, source = Clock(), Told(holds={("acme", "p"): "one"})
        keys = chain(source, clock=clock, ttl_s=100.0)
        await keys.fetch("acme", P)
        source.holds["acme", "p"] = "two"
        clock.now += 91.0
        asked = len(source.asked)
        for _ in range(5):
            found = keys.ready("acme", P)
            assert found is not None
            assert text(found) == "one"
        await settled()
        assert len(source.asked) == asked + 1
        renewed = keys.ready("acme", P)
        assert renewed is not None
        assert text(renewed) == "two"

    scenario(run)


def test_a_renewal_that_fails_takes_nothing_away() -> None:
    """The value in use goes on to its end, is tried again after a while, and is not used beyond."""

    async def run() -> None:
        clock, source = Clock(), Told(holds={("acme", "p"): "one"})
        keys = chain(source, clock=clock, ttl_s=100.0)
        await keys.fetch("acme", P)
        source.holds["acme", "p"] = DENIED
        clock.now += 91.0
        assert keys.ready("acme", P) is not None
        await settled()
        asked = len(source.asked)
        assert keys.ready("acme", P) is not None
        await settled()
        assert len(source.asked) == asked  # not again at once
        clock.now += 5.0
        assert keys.ready("acme", P) is not None
        await settled()
        assert len(source.asked) == asked + 1
        clock.now += 4.0
        assert keys.ready("acme", P) is None
        with pytest.raises(CredentialUnavailableError):
            await keys.fetch("acme", P)

    scenario(run)


def test_a_failure_is_kept_for_a_moment() -> None:
    """So that calls in the dark do not become questions to a service that is down; each raises an error of its own."""

    async def run() -> None:
        clock, source = Clock(), Told(holds={("acme", "p"): DENIED})
        keys = chain(source, clock=clock)
        errors = []
        for _ in range(3):
            with pytest.raises(CredentialUnavailableError) as caught:
                await keys.fetch("acme", P)
            errors.append(caught.value)
        assert len(source.asked) == 1
        assert {error.reason for error in errors} == {"denied"}
        assert errors[1] is not errors[2]
        clock.now += 5.0
        source.holds["acme", "p"] = "back"
        assert text(await keys.fetch("acme", P)) == "back"

    scenario(run)


def test_one_search_for_all_who_wait() -> None:
    """A hundred calls at once ask the link once; one that gives up does not end it for the others."""

    async def run() -> None:
        source = Told(holds={("acme", "p"): "one"})
        source.gate = asyncio.Event()
        keys = chain(source)
        waiting = [asyncio.create_task(keys.fetch("acme", P)) for _ in range(100)]
        await settled()
        waiting[0].cancel()
        await settled()
        source.gate.set()
        found = await asyncio.gather(*waiting[1:])
        assert len(source.asked) == 1
        assert {text(each) for each in found} == {"one"}
        assert waiting[0].cancelled()

    scenario(run)


def test_a_search_ends_in_time() -> None:
    """A link that never answers costs `limit_s`, and says so."""

    async def run() -> None:
        source = Told(holds={("acme", "p"): "one"})
        source.gate = asyncio.Event()
        with pytest.raises(CredentialUnavailableError) as caught:
            await chain(source, limit_s=0.01).fetch("acme", P)
        assert caught.value.reason == "timeout"

    scenario(run)


def test_an_unforeseen_error_says_only_its_type() -> None:
    """Its text may quote what was being handled."""

    async def run() -> None:
        source = Told(holds={("acme", "p"): RuntimeError("sk-canary-in-a-message")})
        with pytest.raises(CredentialUnavailableError, match="unexpected RuntimeError") as caught:
            await chain(source).fetch("acme", P)
        assert "canary" not in f"{caught.value} {caught.value.__cause__}"

    scenario(run)


def test_a_changed_provider_is_asked_for_anew() -> None:
    """What is kept, and what is being searched, is for the provider as it was configured then."""

    async def run() -> None:
        source = Told()
        keys = chain(source, environ={"ONE": "one", "TWO": "two"})
        one, two = provider(env="ONE"), provider(env="TWO")
        assert text(await keys.fetch("acme", one)) == "one"
        assert keys.ready("acme", provider(env="ONE")) is not None  # equal, of a file that was read again
        assert keys.ready("acme", two) is None
        source.gate = asyncio.Event()
        keys.forget()
        old = asyncio.create_task(keys.fetch("acme", one))
        new = asyncio.create_task(keys.fetch("acme", two))
        await settled()
        source.gate.set()
        assert [text(await old), text(await new)] == ["one", "two"]

    scenario(run)


def test_what_was_read_before_a_change_is_not_kept() -> None:
    """A search that began before `forget` answers who waits for it; the next call searches anew."""

    async def run() -> None:
        source = Told(holds={("acme", "p"): "old"})
        source.gate = asyncio.Event()
        keys = chain(source)
        waiting = asyncio.create_task(keys.fetch("acme", P))
        await settled()
        keys.forget()
        source.gate.set()
        assert text(await waiting) == "old"
        assert keys.ready("acme", P) is None

    scenario(run)


def test_changed_files_are_noticed() -> None:
    """`follow` asks everything that reads files, and forgets if any has changed."""

    class File:
        def __init__(self) -> None:
            self.news = [False, True]

        def changed(self) -> bool:
            return self.news.pop(0) if self.news else False

    async def run() -> None:
        source, looks = Told(holds={("acme", "p"): "one"}), asyncio.Queue[None]()
        first, second = File(), File()
        first.news = [False, False]
        keys = chain(source, followed=(first, second))

        async def until(look: Callable[[], object], every_s: float) -> None:
            await looks.get()
            while not look():
                await looks.get()

        following = asyncio.create_task(keys.follow(until))
        await keys.fetch("acme", P)
        looks.put_nowait(None)
        while len(second.news) > 1:
            await asyncio.sleep(0.001)
        assert keys.ready("acme", P) is not None
        looks.put_nowait(None)
        while keys.ready("acme", P) is not None:
            await asyncio.sleep(0.001)
        following.cancel()

    scenario(run)


# -- refused -----------------------------------------------------------------------------------------------------


def test_a_refused_key_is_asked_for_anew_once() -> None:
    """A hundred calls that are refused the same value make one question; a new value is used at once."""

    async def run() -> None:
        clock, source = Clock(), Told(holds={("acme", "p"): "old"})
        keys = chain(source, clock=clock)
        found = await keys.fetch("acme", P)
        source.holds["acme", "p"] = "new"
        for _ in range(100):
            keys.refused("acme", P, found)
        assert keys.ready("acme", P) is None
        assert text(await keys.fetch("acme", P)) == "new"
        asked = len(source.asked)
        clock.now += 60.0
        keys.refused("acme", P, found)  # a late answer to the old value
        assert keys.ready("acme", P) is not None
        assert len(source.asked) == asked == 2

    scenario(run)


def test_a_wrong_key_is_no_storm() -> None:
    """A provider that refuses the same key in every one of 3600 calls, one a second: ever fewer questions."""

    async def run() -> None:
        clock, source = Clock(), Told(holds={("acme", "p"): "wrong"})
        keys = chain(source, clock=clock)
        for _ in range(3600):
            found = keys.ready("acme", P) or await keys.fetch("acme", P)
            keys.refused("acme", P, found)
            clock.now += 1.0
        by_ttl = 3600 / 300
        assert by_ttl <= len(source.asked) <= 2 * by_ttl + 8

    scenario(run)


# -- minted ------------------------------------------------------------------------------------------------------


class Mint:
    """A ``Minter`` whose products live for ``life_s``."""

    def __init__(self, wall: Clock, life_s: float | None) -> None:
        self.wall, self.life_s, self.made = wall, life_s, 0

    async def mint(self, _: Provider, stored: Secret | None) -> Minted:
        self.made += 1
        expires = None if self.life_s is None else self.wall() + self.life_s
        base = "platform" if stored is None else stored.reveal()
        return Minted(Secret(f"{base}-token-{self.made}"), expires)


def minting(life_s: float | None, source: Told) -> tuple[Chain, Mint, Callable[[float], None]]:
    clock, wall = Clock(), Clock(1_800_000_000.0)
    mint = Mint(wall, life_s)

    def later(seconds: float) -> None:
        clock.now += seconds
        wall.now += seconds

    return chain(source, clock=clock, wall=wall, minters={ProviderKind.OPENAI: mint}), mint, later


def test_what_was_minted_outlives_the_stored_key_s_time_but_not_its_own() -> None:
    """An hour's token is used through many looks at the stored key, and never in its last 30 s."""

    async def run() -> None:
        keys, mint, later = minting(3600.0, Told(holds={("acme", "p"): "sa"}))
        for _ in range(35):
            found = keys.ready("acme", P) or await keys.fetch("acme", P)
            await settled()
            later(100.0)
        assert mint.made == 1
        assert found.fingerprint == fingerprint(Secret("sa"))  # of what is stored, not of the token
        later(75.0)  # 3575 s old
        assert keys.ready("acme", P) is None
        assert text(await keys.fetch("acme", P)) == "sa-token-2"

    scenario(run)


def test_a_rotated_key_mints_anew_and_so_does_a_refused_token() -> None:
    """What was minted belongs to the stored key it was made from, and is dropped when it is refused."""

    async def run() -> None:
        source = Told(holds={("acme", "p"): "a"})
        keys, mint, later = minting(3600.0, source)
        found = await keys.fetch("acme", P)
        keys.refused("acme", P, found)
        assert text(await keys.fetch("acme", P)) == "a-token-2"
        source.holds["acme", "p"] = "b"
        later(301.0)
        assert text(await keys.fetch("acme", P)) == "b-token-3"
        assert mint.made == 3

    scenario(run)


def test_the_platform_s_own_identity() -> None:
    """Where nothing is stored a minter may still have something; there is no fingerprint then."""

    async def run() -> None:
        keys, _, _ = minting(None, Told())
        found = await keys.fetch("acme", P)
        assert (text(found), found.fingerprint, found.source) == ("platform-token-1", None, None)

    scenario(run)


# -- nothing shows it --------------------------------------------------------------------------------------------


def test_no_secret_in_reprs_errors_or_logs(caplog: pytest.LogCaptureFixture) -> None:
    """Every path, with debug logging on; the search itself is proven by a planted one."""
    canary = "sk-canary-7f3a"

    async def run() -> list[object]:
        clock, source = Clock(), Told(holds={("acme", "p"): canary})
        keys = chain(source, clock=clock)
        found = await keys.fetch("acme", P)
        seen: list[object] = [found, keys, vars(keys)["_kept"], vars(keys)["_searches"], vars(keys)["_links"]]
        keys.refused("acme", P, found)
        for answer in (DENIED, canary + "\n", RuntimeError(canary)):
            source.holds["acme", "p"] = answer
            clock.now += 100.0
            with pytest.raises(CredentialUnavailableError) as caught:
                await keys.fetch("acme", P)
            seen += [caught.value, caught.value.__cause__]
        seen.append(Found(Secret(canary), None, None))
        return seen

    with caplog.at_level(logging.DEBUG):
        seen = asyncio.run(run())
    assert "is looked up anew" in caplog.text
    shown = caplog.text + "".join(f"{each!r} {each}" for each in seen)
    assert fingerprint(Secret(canary)) in shown
    assert canary not in shown
    logging.getLogger("planted").warning("%s", canary)
    assert canary in caplog.text
