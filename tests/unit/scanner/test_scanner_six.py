"""The detectors of the six families and of our own keys: what they find, exactly, and what they leave alone."""

from __future__ import annotations

import math
import random
import re
import string
import time

import asking
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from makers_six import (
    BASE32,
    BASE62,
    BASE64,
    HEXADECIMAL,
    MAKERS,
    NEAR_MISSES,
    SETTINGS,
    URLSAFE,
    aws_key,
    aws_secret,
    draw,
)

from sovereign_ext.scanner import evidence
from sovereign_ext.scanner.base import Detector, Span
from sovereign_ext.scanner.detectors.anthropic import ANTHROPIC
from sovereign_ext.scanner.detectors.aws import AWS
from sovereign_ext.scanner.detectors.github import GITHUB
from sovereign_ext.scanner.detectors.openai import OPENAI
from sovereign_ext.scanner.detectors.router import ROUTER
from sovereign_ext.scanner.detectors.slack import SLACK
from sovereign_ext.scanner.detectors.stripe import STRIPE
from sovereign_ext.scanner.registry import DETECTORS
from sovereign_ext.tenants.keys import RANDOM_BYTES, KeyKind, mint

pytestmark = pytest.mark.services

OURS = (*ROUTER, *OPENAI, *ANTHROPIC, *AWS, *GITHUB, *SLACK, *STRIPE)
KINDS = sorted(MAKERS)
MISSES = [(kind, index) for kind in KINDS for index in range(len(NEAR_MISSES[kind]))]
SEEDS = st.integers(min_value=0, max_value=2**48)

AROUND = [*asking.AROUND, (b"\t", b"\\"), (b"https://user:", b"@host/path")]


def found(text: bytes, detectors: tuple[Detector, ...] = OURS) -> list[tuple[str, bytes]]:
    return asking.found(text, detectors)


def setting(kind: str, rng: random.Random) -> tuple[bytes, bytes]:
    return rng.choice(SETTINGS[kind])(rng) if kind in SETTINGS else (b"", b"")


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(seed=SEEDS)
def test_each_made_secret_is_found_exactly(kind: str, seed: int) -> None:
    """Whatever stands around it, the span is the secret and nothing but the secret, and of the right kind."""
    rng = random.Random(seed)
    secret = MAKERS[kind](rng)
    before, after = setting(kind, rng)
    left, right = rng.choice(AROUND)
    if kind in SETTINGS and before and not after:
        after = right if kind != "aws-secret-key" else after
    text = left + before + secret + (after or right)
    assert (kind, secret) in found(text), (before, after, left, right)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, left=st.binary(max_size=200), right=st.binary(max_size=200))
def test_arbitrary_bytes_around_hide_nothing(kind: str, seed: int, left: bytes, right: bytes) -> None:
    """Any bytes beside a space and a quotation mark: found at its place."""
    rng = random.Random(seed)
    secret = MAKERS[kind](rng)
    before, after = setting(kind, rng)
    if kind == "aws-secret-key" and any(miss in left + right for miss in (b"AKIA", b"ASIA")):
        return
    assert (kind, secret) in found(left + b" " + before + secret + after + b'"' + right)


@pytest.mark.parametrize(("kind", "index"), MISSES)
def test_near_misses_are_not_found(kind: str, index: int) -> None:
    """Wrong checksums, lengths and alphabets, placeholders, hashes, words: none is taken for this kind."""
    rng = random.Random(1000 * index + len(kind))
    for _ in range(60):
        miss = NEAR_MISSES[kind][index](rng)
        for left, right in ((b"", b""), (b'"', b'"'), (b"see ", b" there")):
            assert [name for name, _ in found(left + miss + right) if name == kind] == [], miss


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_told_from_every_other(kind: str) -> None:
    """A made secret gives one finding, of its own kind."""
    rng = random.Random(5)
    for _ in range(200):
        before, after = setting(kind, rng)
        secret = MAKERS[kind](rng)
        kinds = [name for name, _ in found(before + secret + after)]
        assert [name for name in kinds if name != "aws-access-key" or kind == name] == [kind]


def test_the_registry_has_all_of_them_and_ours_first() -> None:
    """Every detector is registered, in the order in which they are listed here."""
    assert [detector for detector in DETECTORS if detector in OURS] == list(OURS)
    assert {detector.kind for detector in OURS} == set(MAKERS) == set(NEAR_MISSES)


@pytest.mark.parametrize("kind", list(KeyKind))
def test_the_gateways_own_keys_are_those_it_mints(kind: KeyKind) -> None:
    """What ``tenants.keys`` makes is found, and known as ours even where OpenAI's keys begin alike."""
    rng = random.Random(3)
    for _ in range(300):
        key = mint(kind, rng.randbytes(RANDOM_BYTES)).reveal().encode()
        expected = "router-key" if kind is KeyKind.TENANT else "router-admin-key"
        assert found(b"key=" + key + b"\n") == [(expected, key)]


def test_githubs_checksum_is_that_of_the_format() -> None:
    """A pair of random part and checksum that others publish for this encoding, put together here."""
    assert evidence.crc32_base62(b"zQWBuTSOoRi4A9spHcVY" + b"5ncnsDkxkJ") == b"0mLq17"
    assert evidence.base62(0, 6) == b"000000"
    assert evidence.base62(61, 2) == b"0z"


@pytest.mark.parametrize(
    "kind", ["github-token", "router-key", "github-fine-grained-token", "anthropic-api-key"]
)
def test_a_secret_of_known_length_ends_there(kind: str) -> None:
    """Words that run on behind it, as after a line break taken out, are not swallowed and do not hide it."""
    rng = random.Random(9)
    for _ in range(100):
        secret = MAKERS[kind](rng)
        if b"." in secret:  # a JWT ends where its alphabet does
            continue
        for right in (b"Next", b"-next", b"_", b"AWS_REGION", b"00"):
            assert (kind, secret) in found(b"'" + secret + right)


def test_openais_long_keys_end_by_their_symmetry() -> None:
    """The marker stands in the middle: a dash or an underscore behind the key is not taken for a part of it."""
    rng = random.Random(11)
    for _ in range(200):
        secret = MAKERS["openai-admin-key"](rng)
        for right in (b"-next", b"_next", b"--", b"Next"):
            assert found(secret + right) == [("openai-admin-key", secret)]


def test_pairs_of_aws_keys_and_secrets_in_a_row_are_all_found() -> None:
    """Two pairs beside each other, whichever comes first."""
    rng = random.Random(13)
    for template in (b"%(id)s,%(key)s\n", b"%(key)s %(id)s\n", b"id: %(id)s\nkey: %(key)s\n"):
        pairs = [{b"id": aws_key(rng), b"key": aws_secret(rng)} for _ in range(2)]
        text = b"".join(template % pair for pair in pairs)
        assert sorted(secret for _, secret in found(text)) == sorted(
            value for pair in pairs for value in pair.values()
        )


def test_a_git_log_beside_an_access_key_is_no_secret() -> None:
    """Forty hexadecimal digits, base64 lines and paths around an access key id stay."""
    rng = random.Random(17)
    lines = [b"commit " + draw(rng, HEXADECIMAL, 40) for _ in range(4)]
    lines.insert(2, b"    remove " + aws_key(rng))
    lines += [b"index src/components/Button/PrimaryButtonStyle", b"sha512-" + draw(rng, BASE64, 86) + b"=="]
    assert [kind for kind, _ in found(b"\n".join(lines))] == ["aws-access-key"]


@pytest.mark.parametrize(
    ("alphabet", "size"),
    [
        (HEXADECIMAL, 10),
        (HEXADECIMAL, 64),
        (BASE32, 16),
        (BASE62, 20),
        (BASE62, 48),
        (URLSAFE, 93),
        (BASE64, 40),
    ],
)
def test_random_texts_pass_for_random(alphabet: str, size: int) -> None:
    """None of thirty thousand fails where one in ten million may."""
    rng = random.Random(size)
    assert all(evidence.made_at_random(draw(rng, alphabet, size), len(alphabet)) for _ in range(30_000))


@pytest.mark.parametrize(
    "text",
    [
        "x" * 20,
        "abcdefghijklmnop",
        "thisIsMySecretKeyThatYouShouldReplaceNow",
        "MyExampleQ7zzT1",
        "your_api_key9Zq",
        "12345678",
    ],
)
def test_typed_texts_do_not(text: str) -> None:
    """Repetition, order, words and placeholders."""
    assert not evidence.made_at_random(text.encode(), 62)


def test_the_entropy_is_shannons() -> None:
    """Known values, and the mean of many draws against the exact one."""
    assert evidence.entropy(b"") == 0
    assert evidence.entropy(b"aaaa") == 0
    assert math.isclose(evidence.entropy(b"abcdabcd"), 2)
    rng = random.Random(1)
    samples = [evidence.entropy(draw(rng, BASE62, 20)) for _ in range(4000)]
    mean = sum(samples) / len(samples)
    deviation = math.sqrt(sum((sample - mean) ** 2 for sample in samples) / len(samples))
    assert math.isclose(evidence.least_entropy(20, 62), mean - 6.5 * deviation, abs_tol=0.06)


@pytest.mark.parametrize("size", sorted(evidence._PAIRS_BY_CHANCE))
def test_the_bounds_of_english_pairs_are_those_of_chance(size: int) -> None:
    """The table against the exact law: a chain over the last letter, each of 62 characters equally likely."""
    share = 2 / 62  # of a letter, in either case
    letters = string.ascii_lowercase
    before = {b: [a for a in letters if tuple((a + b).encode()) in evidence._PAIRS] for b in letters}
    states = {a: [share] + [0.0] * size for a in letters} | {"": [1 - 26 * share] + [0.0] * size}
    for _ in range(size - 1):
        total = [math.fsum(column) for column in zip(*states.values(), strict=True)]
        after = {}
        for b in letters:
            paired = [math.fsum(column) for column in zip(*(states[a] for a in before[b]), strict=True)] or [
                0.0
            ] * (size + 1)
            after[b] = [
                share * (total[n] - paired[n] + (paired[n - 1] if n else 0.0)) for n in range(size + 1)
            ]
        after[""] = [(1 - 26 * share) * value for value in total]
        states = after
    counts = [math.fsum(column) for column in zip(*states.values(), strict=True)]
    bound = evidence._PAIRS_BY_CHANCE[size]
    assert math.fsum(counts[bound:]) < 1e-7
    assert bound == size or math.fsum(counts[bound - 1 :]) >= 1e-7


@pytest.mark.parametrize("detector", OURS, ids=lambda detector: detector.kind)
@given(text=st.binary(max_size=400), at=st.integers(min_value=0, max_value=50))
@settings(max_examples=40, deadline=None)
def test_a_detector_answers_for_any_bytes(detector: Detector, text: bytes, at: int) -> None:
    """No error, and a span inside the text, for an anchor in any surroundings."""
    for anchor in detector.anchors[:3]:
        left = text[:at]
        span = detector.find(left + anchor + text[at:], len(left))
        assert span is None or (
            isinstance(span, Span) and 0 <= span.start < span.end <= len(text) + len(anchor)
        )


@pytest.mark.parametrize("detector", OURS, ids=lambda detector: detector.kind)
def test_hostile_runs_take_no_more_than_their_reach(detector: Detector) -> None:
    """The time for a full reach of the worst filling is bounded: no backtracking."""
    for filling in (b"A", b"a1-", b"1-", b"/", b"_", b"aB3/", b"T3Blbk" + b"FJ", b"eyJ.", b"1234567890-"):
        text = detector.anchors[0] + (filling * 5000)[: detector.reach]
        padded = (filling * 5000)[: detector.back] + text
        start = time.perf_counter()
        for _ in range(20):
            detector.find(padded, detector.back)
        assert (time.perf_counter() - start) / 20 < 0.01


@pytest.mark.parametrize("detector", OURS, ids=lambda detector: detector.kind)
def test_the_reach_is_enough(detector: Detector) -> None:
    """The longest text that a detector takes fits into what it is given: a longer text changes nothing."""
    rng = random.Random(23)
    for _ in range(100):
        before, after = setting(detector.kind, rng)
        text = before + MAKERS[detector.kind](rng) + after + b" " + b"x " * 3000
        for anchor in detector.anchors:
            flags = re.IGNORECASE if detector.fold else 0
            for hit in re.finditer(re.escape(anchor), text, flags):
                begin = max(0, hit.start() - detector.back)
                whole = detector.find(text, hit.start())
                given_text = text[begin : hit.start() + detector.reach]
                part = detector.find(given_text, hit.start() - begin)
                assert whole == (part and Span(part.start + begin, part.end + begin))


def test_a_key_whose_digits_are_spread_badly_is_found() -> None:
    """One in 200,000 is spread like this: the entropy of a fair draw has a long tail."""
    digits = b"ef98af2c1c9ca1b91c818c999fac12110efb9811a76c8b1bbf8f61a96f8fcf92"
    assert evidence.made_at_random(digits, 16)
