"""The detectors beyond the six families: what they find, exactly, and what they leave alone."""

from __future__ import annotations

import random
import time

import asking
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from makers_more import BASE64URL, MAKERS, NEAR_MISSES, SETTINGS, draw, gitlab_routable, pem, rsa_key

from sovereign_ext.scanner.base import Detector
from sovereign_ext.scanner.detectors.azure import AZURE
from sovereign_ext.scanner.detectors.azure_keys import AZURE_KEYS
from sovereign_ext.scanner.detectors.connection_string import CONNECTION_STRING
from sovereign_ext.scanner.detectors.gitlab import GITLAB
from sovereign_ext.scanner.detectors.google import GOOGLE
from sovereign_ext.scanner.detectors.huggingface import HUGGINGFACE
from sovereign_ext.scanner.detectors.jwt import JWT
from sovereign_ext.scanner.detectors.npm import NPM
from sovereign_ext.scanner.detectors.private_key import PRIVATE_KEY
from sovereign_ext.scanner.detectors.pypi import PYPI
from sovereign_ext.scanner.registry import DETECTORS

pytestmark = pytest.mark.services

OURS = (
    *GOOGLE, *AZURE, *AZURE_KEYS, *PRIVATE_KEY, *GITLAB, *JWT, *NPM, *PYPI, *HUGGINGFACE, *CONNECTION_STRING,
)  # fmt: skip
KINDS = sorted(MAKERS)
MISSES = [(kind, index) for kind in KINDS for index in range(len(NEAR_MISSES[kind]))]
SEEDS = st.integers(min_value=0, max_value=2**48)


def found(text: bytes, detectors: tuple[Detector, ...] = OURS) -> list[tuple[str, bytes]]:
    return asking.found(text, detectors)


def in_setting(kind: str, rng: random.Random, secret: bytes) -> bytes:
    """``secret`` with what must stand around it for its kind, in some surroundings."""
    before, after = rng.choice(SETTINGS[kind])(rng) if kind in SETTINGS else (b"", b"")
    left, right = rng.choice(asking.AROUND)
    return left + before + secret + after + right


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(seed=SEEDS)
def test_each_made_secret_is_found_exactly(kind: str, seed: int) -> None:
    """In prose, quotes, settings and at both ends: one finding, of its kind, and just the secret."""
    rng = random.Random(seed)
    secret = MAKERS[kind](rng)
    text = in_setting(kind, rng, secret)
    assert found(text) == [(kind, secret)], text


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, left=st.binary(max_size=200), right=st.binary(max_size=200))
def test_arbitrary_bytes_around_hide_nothing(kind: str, seed: int, left: bytes, right: bytes) -> None:
    """Any bytes beside a line break and a quotation mark: found at its place."""
    rng = random.Random(seed)
    secret = MAKERS[kind](rng)
    before, after = rng.choice(SETTINGS[kind])(rng) if kind in SETTINGS else (b"", b"")
    assert (kind, secret) in found(left + b"\n" + before + secret + (after or b'"') + b"\n" + right)


@pytest.mark.parametrize(("kind", "index"), MISSES)
def test_near_misses_are_not_found(kind: str, index: int) -> None:
    """Wrong checksums and lengths, placeholders, words, programs: no detector of these families finds anything."""
    rng = random.Random(1000 * index + len(kind))
    for _ in range(60):
        miss = NEAR_MISSES[kind][index](rng)
        for left, right in ((b"", b""), (b'"', b'"'), (b"see ", b" there")):
            assert found(left + miss + right) == [], miss


def test_the_registry_has_all_of_them_behind_the_six_families() -> None:
    """Every detector is registered, last and in the order in which they are listed here, with makers of its kind."""
    assert DETECTORS[-len(OURS) :] == OURS
    assert {detector.kind for detector in OURS} == set(MAKERS) == set(NEAR_MISSES)
    assert len({detector.kind for detector in OURS}) == len(OURS)


@pytest.mark.parametrize(
    "newline", [b"\n", b"\r\n", b" ", b"\n  ", b"\n> ", b'\\n"\n"', b"\\\n", b"\t", b'",\n  "']
)
def test_a_private_key_may_be_broken_in_many_ways(newline: bytes) -> None:
    """Line breaks, blanks, quoting, strings of a program: the block from BEGIN to END is the secret."""
    block = pem(b"RSA PRIVATE KEY", rsa_key(random.Random(1)), newline=newline.replace(b"\\n", b"\n"))
    assert found(b"key: " + block + b" and so on") == [("private-key", block)]


@pytest.mark.parametrize(
    "rest", [b"", b"...", b"\n\nand so on it goes", b"\nNext line of prose", b'"}', b"\n-----BEGIN X"]
)
@pytest.mark.parametrize("kept", [200, 400, 995])
def test_of_a_private_key_that_is_cut_off_all_is_found_that_is_there(kept: int, rest: bytes) -> None:
    """Without END the secret goes as far as its base64; prose behind it is none of it."""
    block = pem(b"PRIVATE KEY", rsa_key(random.Random(kept)))[:kept].rstrip()
    assert found(block + rest) == [("private-key", block)]


def test_a_private_key_is_found_up_to_the_largest() -> None:
    """An RSA key of 16384 bits is found whole; of a longer block, what is within reach."""
    block = pem(b"RSA PRIVATE KEY", random.Random(2).randbytes(9300))
    assert found(block) == [("private-key", block)]
    [(kind, part)] = found(pem(b"PRIVATE KEY", random.Random(3).randbytes(20000)))
    assert kind == "private-key"
    assert len(part) >= 16 * 1024 - 64


def test_the_private_key_of_a_service_account_is_named_as_such() -> None:
    """In the JSON of a service account both the key and its id are found, each as its kind."""
    rng = random.Random(4)
    block, key_id = MAKERS["google-service-account-key"](rng), MAKERS["google-private-key-id"](rng)
    text = (
        b'{"type": "service_account", "private_key_id": "' + key_id + b'", "private_key": "' + block + b'\n"}'
    )
    assert found(text) == [("google-private-key-id", key_id), ("google-service-account-key", block)]
    assert found(b'{"private_key": "' + block + b'"}') == [("private-key", block)]


def test_a_routable_gitlab_token_is_found_with_the_prefix_of_its_instance() -> None:
    """The checksum covers the instance's prefix, so that it tells where the token begins."""
    token = gitlab_routable(random.Random(5), b"my-company_glpat-")
    assert found(b"TOKEN=" + token) == [("gitlab-token", token)]
    other = gitlab_routable(random.Random(6))
    assert found(b"instance-" + other) == [("gitlab-token", other)]


def test_a_pypi_token_ends_with_its_signature() -> None:
    """Letters behind the macaroon are none of it."""
    token = MAKERS["pypi-token"](random.Random(7))
    assert found(token + b"_") == [("pypi-token", token)]


@pytest.mark.parametrize(
    ("text", "password"),
    [
        (b"postgres://u:a@b@c.9@host/x", b"a@b@c.9"),
        (b"postgres://u:p/w?9#x@host/x", b"p/w?9#x"),
        (b"postgres://user:user1@host", b"user1"),
        (b"redis://:only-this-1@host,x@y", b"only-this-1@host,x"),
        (b"amqp://a:first-1@h1,amqp://a:second-2@h2", b"first-1"),
        (b"see <https://ci:hunter2@git.example.com/x.git>", b"hunter2"),
        (b"git+https://ci:hunter2@git.example.com/x.git", b"hunter2"),
        (b"postgres://${USER}:hunter2@db", b"hunter2"),
        (b"Server=db;User Id=sa;Password='it;is 1';", b"it;is 1"),
        (b"Driver={X};Server=db;PWD={a;b 9};", b"a;b 9"),
        (b"Server=db;User Id=sa;Password=correcthorse", b"correcthorse"),
        (b"mysql --host=db --user=app --password=hunter2 shop", b"hunter2"),
        (b"host=db user=app password='two words 2'", b"two words 2"),
        (b"https://example.com/login?user=a&password=hunter2", b"hunter2"),
    ],
)
def test_passwords_with_characters_of_the_syntax(text: bytes, password: bytes) -> None:
    """Where a password ends when it holds what usually ends one."""
    assert [secret for _, secret in found(text)][:1] == [password]


HOSTILE = [
    b"-----BEGIN PRIVATE KEY-----",
    b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n",
    b"private_key: ",
    b"eyJhbGciOiJIUzI1NiJ9.",
    b"_eyJ",
    b".eyJ",
    b"glpat-",
    b"glcbt-eyJhbGciOiJIUzI1NiJ9.",
    b"postgres://u:",
    b"postgres://u:p@",
    b"x@",
    b"password=",
    b"user=1 password=a ",
    b"my_",
    b"Password=a;Server=",
    b"sig=",
    b"&sv=&sig=" + b"A" * 43,
    b"JQQJ99",
    b"8Q~",
    b"pypi-AgEIcHlwaS5vcmc" + b"A" * 80,
    b"AccountKey=",
    b"ya29.",
    b"{[({",
    b"$x.",
]


@pytest.mark.parametrize("detector", OURS, ids=lambda detector: detector.kind)
def test_no_text_takes_a_detector_long(detector: Detector) -> None:
    """At any anchor, before hostile repetitions up to its reach, a detector answers in time linear in its reach."""
    rng = random.Random(8)
    slowest = 0.0
    for anchor in detector.anchors:
        for part in (*HOSTILE, draw(rng, BASE64URL, 1), b"a", b" ", b"\n", b"="):
            filler = part * (detector.reach // len(part) + 1)
            text = filler[: detector.back] + anchor + filler
            started = time.thread_time()
            detector.find(text[: detector.back + detector.reach], min(detector.back, len(text)))
            slowest = max(slowest, time.thread_time() - started)
    assert slowest < 0.02 + detector.reach * 2e-6
