"""Policy files (C2SP tlog-policy): every form, every fault, and what a quorum comes to."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mirror_world import cosigner, note_signer

from sovereign_ext.errors import ConfigError
from sovereign_ext.tlog.cosignature import CosignerKey
from sovereign_ext.tlog.policyfile import (
    LogPolicy,
    PolicyLog,
    PolicyWitness,
    parse_policy,
    threshold_policy,
)

LOG = note_signer().verifier
KEYS: dict[str, CosignerKey] = {
    name: cosigner(f"{name}.example", seed).key
    for seed, name in enumerate(["X1", "X2", "X3", "Y1", "Y2", "Y3"], 20)
}
TWO_LEVELS = f"""
# The example of the specification.
log {LOG.encode()}

witness X1 {KEYS["X1"].encode()}
witness X2 {KEYS["X2"].encode()}
witness X3 {KEYS["X3"].encode()}
group X-witnesses 2 X1 X2 X3

witness Y1 {KEYS["Y1"].encode()}
witness Y2 {KEYS["Y2"].encode()}
witness Y3 {KEYS["Y3"].encode()}
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""
X1, X2 = (f"witness {name} {KEYS[name].encode()}" for name in ("X1", "X2"))


def parse(*lines: str) -> LogPolicy:
    return parse_policy("".join(f"{line}\n" for line in lines).encode(), "policy")


def test_the_example_of_the_specification() -> None:
    """Two of the X witnesses and any of the Y witnesses: all 64 subsets."""
    policy = parse_policy(TWO_LEVELS.encode())
    assert policy.logs == (PolicyLog(LOG),)
    for count in range(7):
        for names in combinations(KEYS, count):
            expected = sum(n[0] == "X" for n in names) >= 2 and any(n[0] == "Y" for n in names)
            assert policy.met([KEYS[name] for name in names]) is expected, names


def test_every_form_of_line() -> None:
    """URLs, comments, tabs, blank lines, white space at both ends, names that look like keywords."""
    policy = parse(
        "\t# comment", "", "   ", f"  log\t{LOG.encode()}   https://log.example/  ",
        f"witness all {KEYS['X1'].encode()} http://127.0.0.1:1/w", f"witness 2 {KEYS['X2'].encode()}",
        "group group 1 all 2", "quorum group",
    )  # fmt: skip
    assert policy.logs[0].url == "https://log.example/"
    assert [(w.name, w.url) for w in policy.witnesses] == [(b"all", "http://127.0.0.1:1/w"), (b"2", None)]
    assert policy.met([KEYS["X2"]])
    assert not policy.met([KEYS["Y1"]])
    assert parse("quorum none").met([])
    assert parse(X1, "quorum X1").met([KEYS["X1"]])


def test_a_key_counts_under_any_name() -> None:
    """Quorums are about keys: a policy may call a cosigner otherwise than its note lines do."""
    policy = parse(X1, "quorum X1")
    assert policy.met([CosignerKey("another.name", KEYS["X1"].public_key)])


def test_names_are_octets() -> None:
    """K and the Kelvin sign are different names, and names need not be UTF-8."""
    kelvin, raw = "\u212a".encode(), b"\xff\xfe"
    lines = [
        b"witness K " + KEYS["X1"].encode().encode(),
        b"witness " + kelvin + b" " + KEYS["X2"].encode().encode(),
        b"witness " + raw + b" " + KEYS["X3"].encode().encode() + b" # not a comment".split(b" ")[0],
        b"quorum " + kelvin,
    ]
    policy = parse_policy(b"".join(line + b"\n" for line in lines))
    assert [w.name for w in policy.witnesses] == [b"K", kelvin, raw]
    assert policy.met([KEYS["X2"]])
    assert not policy.met([KEYS["X1"], KEYS["X3"]])


FAULTS = {
    "no quorum": ([X1], None, "no quorum line"),
    "two quorums": (["quorum none", "quorum none"], 2, "second quorum"),
    "unknown quorum": (["quorum X1"], 1, "'X1' is not defined above"),
    "quorum before witness": (["quorum X1", X1], 1, "not defined above"),
    "unknown member": ([X1, "group g any X1 X2", X2, "quorum g"], 2, "'X2' is not defined above"),
    "none as member": ([X1, "group g any X1 none", "quorum g"], 2, "'none' is not defined"),
    "none as name": ([f"witness none {KEYS['X1'].encode()}"], 1, "'none' is taken"),
    "name taken": ([X1, f"witness X1 {KEYS['X2'].encode()}"], 2, "'X1' is taken"),
    "group name taken": ([X1, "group X1 any X1"], 2, "'X1' is taken"),
    "own member": (["group g any g"], 1, "'g' is not defined"),
    "same key": ([X1, f"witness X2 {KEYS['X1'].encode()}"], 2, "key of another witness"),
    "same log key": ([f"log {LOG.encode()}"] * 2, 2, "key of another log"),
    "member twice": ([X1, "group g any X1 X1"], 2, "member twice"),
    "member of two": ([X1, X2, "group g any X1", "group h any X1 X2"], 4, "member twice"),
    "empty group": (["group g any"], 1, "expected 'log VKEY"),
    "threshold 0": ([X1, "group g 0 X1"], 2, "a number from 1 to 1"),
    "threshold too high": ([X1, "group g 2 X1"], 2, "a number from 1 to 1"),
    "threshold not a number": ([X1, "group g some X1"], 2, "got 'some'"),
    "threshold huge": ([X1, "group g " + "1" * 10_000 + " X1"], 2, "a number from 1 to 1"),
    "threshold other digits": ([X1, "group g ١ X1"], 2, "a number from 1 to 1"),
    "unknown keyword": (["logs x"], 1, "expected 'log VKEY"),
    "too many words": ([f"{X1} http://a/ b"], 1, "expected 'log VKEY"),
    "no URL": ([f"{X1} ftp://a/"], 1, "http or https URL"),
    "witness key as log": ([f"log {KEYS['X1'].encode()}"], 1, "not an Ed25519 verifier key"),
    "log key as witness": ([f"witness w {LOG.encode()}"], 1, "not a witness's verifier key"),
    "damaged key": ([X1[:-3] + "AAA"], 1, "has id"),
    "carriage return": ([f"{X1}\r"], 1, "control character"),
    "NUL": (["quorum none\0"], 1, "control character"),
    "DEL": (["# \x7f", "quorum none"], 1, "control character"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_name_file_line_and_reason(name: str) -> None:
    """A policy that is not entirely understood is not used."""
    lines, line, reason = FAULTS[name]
    with pytest.raises(ConfigError) as caught:
        parse(*lines)
    assert reason in caught.value.reason
    assert (caught.value.file, caught.value.line) == ("policy", line)


def test_a_file_that_was_cut_off_is_refused() -> None:
    """Cut in the last name it would still parse, and mean somebody else."""
    whole = f"{X1}\nwitness X {KEYS['X2'].encode()}\nquorum X1\n".encode()
    assert parse_policy(whole).quorum == b"X1"
    for cut in (1, 2, 5):
        with pytest.raises(ConfigError, match="is the file complete"):
            parse_policy(whole[:-cut])


@given(st.binary(max_size=300))
def test_arbitrary_bytes(data: bytes) -> None:
    """Nothing but ConfigError comes out, and what parses says the same when it is written and read again."""
    try:
        policy = parse_policy(data)
    except ConfigError:
        return
    assert parse_policy(policy.encode()) == policy


def test_a_hundred_levels_of_groups() -> None:
    """Depth is no danger: groups are counted in the order of the file."""
    lines = [X1, "group g0 all X1", *(f"group g{n} any g{n - 1}" for n in range(1, 5000)), "quorum g4999"]
    policy = parse(*lines)
    assert policy.met([KEYS["X1"]])
    assert not policy.met([])
    assert parse_policy(policy.encode()) == policy


@given(st.integers(1, 6), st.sets(st.sampled_from(sorted(KEYS))))
def test_a_plain_threshold(threshold: int, signed: set[str]) -> None:
    """The quorum of ``log.quorum`` is a policy like any other."""
    witnesses = [PolicyWitness(name.encode(), key) for name, key in KEYS.items()]
    policy = threshold_policy([PolicyLog(LOG)], witnesses, threshold)
    assert policy.met([KEYS[name] for name in signed]) is (len(signed) >= threshold)
    assert parse_policy(policy.encode()) == policy


def test_thresholds_that_cannot_be() -> None:
    """More than there are, none of some, or a witness that would count twice."""
    witness = PolicyWitness(b"a", KEYS["X1"])
    for threshold in (0, 2):
        with pytest.raises(ConfigError):
            threshold_policy((), [witness], threshold)
    with pytest.raises(ConfigError, match="same key"):
        threshold_policy((), [witness, PolicyWitness(b"b", KEYS["X1"])], 2)
    assert threshold_policy((), (), 0).quorum == b"none"
