"""A body without its secrets: what is replaced, where, by what, and that nothing else is."""

from __future__ import annotations

import base64
import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scanner_fakes import ALL, FIXED, GREEDY, LOOSE, NPM, OTHER, SEVEN, body, detector

from sovereign_ext.scanner.base import Detector, Span
from sovereign_ext.scanner.canonical import Canonical, Joined
from sovereign_ext.scanner.scan import Finding, Scanner

SCANNER = Scanner(ALL)
ONLY_FIXED = Scanner([FIXED])
ONLY_CANONICAL = Canonical([FIXED])
MARK = "[REDACTED:fixed:1]"


def redacted(content: Any) -> Any:
    return json.loads(SCANNER.scan(body(content)).body)["a"]


def short(findings: tuple[Finding, ...]) -> list[tuple[str, int, str, int]]:
    return [(each.kind, each.number, each.pointer, each.length) for each in findings]


# -- one secret ---------------------------------------------------------------------------------------------------


def test_a_finding_says_all_of_a_secret_but_does_not_show_it():
    raw = b'{ "a" : ["x", "key: %s." ],"b":1.50 }\n' % SEVEN.encode()
    scan = SCANNER.scan(raw)
    assert scan.body == raw.replace(SEVEN.encode(), MARK.encode())
    (finding,) = scan.findings
    assert (finding.kind, finding.family, finding.version) == ("fixed", "fakes", 3)
    assert (finding.number, finding.pointer, finding.length) == (1, "/a/1", len(SEVEN))
    assert finding.secret.reveal() == SEVEN
    assert SEVEN not in repr(scan.findings)


def test_a_body_without_secrets_is_the_same_object():
    for content in ("nothing", "seven_up", "task-force", "a\nseven_\nb", "%73even_", ["", {}, None, 1e9]):
        raw = body(content)
        scan = SCANNER.scan(raw)
        assert scan.body is raw
        assert scan.findings == ()


def test_without_detectors_nothing_is_found():
    raw = body(SEVEN)
    assert Scanner(()).scan(raw).body is raw


@pytest.mark.parametrize(
    "before", ["", " ", "\n", "\r\n", "\t", "x: ", '"', "\\", "/", "é", "=", "-", "_", "\u200b", "a\u200b"]
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_secret_is_found_between_anything(before: str, ascii_only: bool):
    """Its left neighbour may be anything but a letter or digit, as an escape or not."""
    for after in ("", " ", "\n", '"', "\\", "/", "é", ",", "-", "a", "\u200b"):
        raw = json.dumps({"a": before + SEVEN + after}, ensure_ascii=ascii_only).encode()
        scan = SCANNER.scan(raw)
        assert json.loads(scan.body) == {"a": before + MARK + after}, after
        assert scan.body == raw.replace(SEVEN.encode(), MARK.encode())


@pytest.mark.parametrize("before", ["a", "Z", "0"])
def test_a_longer_word_is_no_secret(before: str):
    assert redacted(before + SEVEN) == before + SEVEN


HIDDEN = {
    "escapes": "".join(f"\\u{ord(c):04x}" for c in SEVEN),
    "upper case": "".join(f"\\u{ord(c):04X}" for c in SEVEN),
    "one escape in the anchor": SEVEN.replace("v", "\\u0076", 1),
    "one escape behind": SEVEN[:-2] + f"\\u{ord(SEVEN[-2]):04x}" + SEVEN[-1],
    "JSON in JSON in JSON": "".join(f"\\\\\\\\\\\\\\u{ord(c):04x}" for c in SEVEN),
    "percent": "".join(f"%{ord(c):02x}" for c in SEVEN),
    "percent three times": "".join(f"%2525{ord(c):02X}" for c in SEVEN),
    "percent in escapes": "".join(f"\\u0025{ord(c):02X}" for c in SEVEN),
    "escapes in percent": "".join(f"%5Cu{ord(c):04x}" for c in SEVEN),
    "no width": "\u200b".join(SEVEN),
    "no width, escaped": "\\u200D\\ufeff".join(SEVEN),
    "soft hyphens": "\u00ad".join(SEVEN),
    "tags": "\U000e0020".join(SEVEN),
    "tags, escaped": "\\udb40\\udc20".join(SEVEN),
    "after an escape": "\\n" + SEVEN,
    "after two": "\\\\n\\n" + SEVEN,
    "after percent": "%0A" + SEVEN,
    "after an escaped quote": "\\u0022" + SEVEN,
}


@pytest.mark.parametrize("text", HIDDEN.values(), ids=HIDDEN)
def test_a_hidden_secret_is_replaced_whole(text: str):
    scan = SCANNER.scan(f'{{"a":"x {text} y"}}'.encode())
    (finding,) = scan.findings
    assert finding.secret.reveal() == SEVEN
    assert finding.length == len(SEVEN)
    assert SEVEN[-4:] not in json.loads(scan.body)["a"]
    assert json.loads(scan.body)["a"].endswith(f"{MARK} y")


@pytest.mark.parametrize("wrap", ["\n", "\r\n", "\n    ", "\n\t", "\n> ", "\n > > ", "\\\n", " \\\n  "])
def test_a_wrapped_secret_is_replaced_with_its_line_break(wrap: str):
    for at in range(1, len(SEVEN)):
        by = (
            "\\\n" if " \\" in wrap and at < len("seven_") else wrap
        )  # within an anchor no blanks before the break
        assert redacted(f"say {SEVEN[:at]}{by}{SEVEN[at:]}\nnext") == f"say {MARK}\nnext", at


def test_the_line_after_a_whole_secret_is_not_a_part_of_it():
    assert redacted(f"{LOOSE}\nNext line") == "[REDACTED:run:1]\nNext line"


@pytest.mark.parametrize("at", range(1, len(SEVEN)))
def test_a_secret_split_over_text_parts_is_cut_out_of_all(at: int):
    """The marker is in the first of them; places that are empty then stay."""

    def message(*texts: str) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": [{"type": "text", "text": text} for text in texts]}]}

    middle = (at + len(SEVEN)) // 2
    raw = json.dumps(message("x " + SEVEN[:at], SEVEN[at:middle], "", SEVEN[middle:] + " y")).encode()
    scan = SCANNER.scan(raw)
    assert json.loads(scan.body) == message("x " + MARK, "", "", " y")
    assert short(scan.findings) == [("fixed", 1, "/messages/0/content/0/text", len(SEVEN))]


def test_a_secret_in_a_text_document_is_replaced_there():
    def url(text: str) -> str:
        return "data:text/plain;base64," + base64.b64encode(text.encode()).decode()

    inner = url(f"inner {OTHER}\n")
    scan = SCANNER.scan(body([SEVEN, url(f"outer {SEVEN}\n{inner}\n")]))
    wanted = url(f"outer {MARK}\n" + url("inner [REDACTED:fixed:2]\n") + "\n")
    assert json.loads(scan.body) == {"a": [MARK, wanted]}
    assert short(scan.findings) == [
        (("fixed"), number, pointer, 22) for number, pointer in ((1, "/a/0"), (1, "/a/1"), (2, "/a/1"))
    ]


def test_a_picture_is_left_alone():
    """Bytes that happen to look like a secret; the base64 of a picture is no text."""
    picture = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(300)).decode()
    scanner = Scanner([detector("zeros", (b"AAAAAAAA",), rb"A{8,100}", boundary=False)])
    raw = body("data:image/png;base64," + picture)
    assert scanner.scan(raw).body is raw
    assert scanner.scan(body(picture)).findings


# -- several, and their places ------------------------------------------------------------------------------------


def test_the_same_secret_has_the_same_number_in_order_of_appearance():
    scan = SCANNER.scan(json.dumps({"b": OTHER, "a": [SEVEN, {OTHER: f"{NPM} {SEVEN}"}]}).encode())
    assert json.loads(scan.body) == {
        "b": "[REDACTED:fixed:1]",
        "a": ["[REDACTED:fixed:2]", {"[REDACTED:fixed:1]": "[REDACTED:node:1] [REDACTED:fixed:2]"}],
    }
    assert short(scan.findings) == [
        ("fixed", 1, "/b", 22),
        ("fixed", 2, "/a/0", 22),
        ("fixed", 1, "/a/1/[REDACTED:fixed:1]", 22),  # the name of a member
        ("node", 1, "/a/1/[REDACTED:fixed:1]", 21),
        ("fixed", 2, "/a/1/[REDACTED:fixed:1]", 22),
    ]


def test_a_secret_that_is_hidden_is_the_same_secret():
    hidden = HIDDEN["escapes"]
    scan = SCANNER.scan(f'{{"a":"{SEVEN} {hidden}"}}'.encode())
    assert [finding.number for finding in scan.findings] == [1, 1]


def test_secrets_side_by_side_are_all_found():
    """No boundary but a secret stands before the second."""
    scan = SCANNER.scan(body(SEVEN + OTHER + SEVEN + " " + NPM))
    assert (
        json.loads(scan.body)["a"]
        == "[REDACTED:fixed:1][REDACTED:fixed:2][REDACTED:fixed:1] [REDACTED:node:1]"
    )
    assert [finding.number for finding in scan.findings] == [1, 2, 1, 1]


def test_of_secrets_that_overlap_nothing_is_left():
    inside = redacted(f"fake://user:{SEVEN}@host")
    assert inside == f"fake://user:{MARK}@host"  # both; the first of the registry is named
    assert redacted(f"fake://user:xx{SEVEN}@host") == "fake://user:[REDACTED:url:1]@host"
    scan = SCANNER.scan(body(f"all_of_it:x-{LOOSE} y"))
    assert [finding.kind for finding in scan.findings] == ["greedy"]


def test_what_a_name_says_of_the_string_beside_it_counts():
    """The name of a member, as in JSON within a string."""
    secret = "aB3+" * 6
    assert (
        SCANNER.scan(json.dumps({"SECRET_NAME": secret}).encode()).body
        == b'{"SECRET_NAME": "[REDACTED:named:1]"}'
    )
    inner = json.dumps({"secret_name": secret})
    assert json.loads(redacted(inner)) == {"secret_name": "[REDACTED:named:1]"}


def test_a_finding_does_not_reach_from_one_string_into_the_next():
    """``greedy`` takes all until a space: here the quotes, and the next member."""
    raw = b'{"a":"all_of_it:x","b":"y z"}'
    scan = Scanner([GREEDY]).scan(raw)
    assert scan.body is raw


def test_a_redacted_body_is_clean():
    once = SCANNER.scan(
        body([SEVEN, f"fake://u:{SEVEN}@h", f"fake://u:p4ss@h all_of_it:{NPM}", f"secret_name={'aB3+' * 6}"])
    )
    assert once.findings
    assert SCANNER.scan(once.body) == type(once)((), once.body)


def test_a_secret_that_a_replacement_frees_is_found():
    """Not right after another, so that only a second search sees it: the first one's tail kept it from counting."""
    tail = detector("tail", (b"tail_",), rb"tail_[a-z]{8}(?![a-z])")
    head = detector("head", (b"{{",), rb"{{\w{4}", boundary=False)
    scan = Scanner([tail, head]).scan(body("tail_abcdefgh{{wxyz tail_abcdefghi{{wxyz"))
    assert json.loads(scan.body)["a"] == "[REDACTED:tail:1][REDACTED:head:1] tail_abcdefghi[REDACTED:head:1]"


def test_findings_are_in_order_of_place_whichever_search_found_them():
    blocked = detector("blocked", (b"x_",), rb"x_[a-z]{4}(?!y_)", boundary=False, wraps=False)
    other = detector("other", (b"y_abcd",), rb"y_abcd", boundary=False, wraps=False)
    scan = Scanner([blocked, other]).scan(body("x_aaaay_abcd x_bbbb"))
    assert [finding.kind for finding in scan.findings] == ["blocked", "other", "blocked"]
    assert json.loads(scan.body)["a"] == "[REDACTED:blocked:2][REDACTED:other:1] [REDACTED:blocked:1]"


def test_what_one_detector_reads_at_many_anchors_is_one_secret():
    """A hostile body would have one finding for each of its anchors, with all that follows."""
    chain = detector("chain", (b"ab/",), rb"[ab/]{20,64}")
    scan = Scanner([chain]).scan(body("ab/" * 1000))
    assert json.loads(scan.body)["a"] in {"[REDACTED:chain:1]", "[REDACTED:chain:1]a", "[REDACTED:chain:1]ab"}
    assert len(scan.findings) == 1


def test_a_detector_sees_as_far_as_it_asked():
    """Whatever stands around: escapes, what has no width, the ends of the body."""
    seen: list[tuple[int, int]] = []

    def find(text: bytes, at: int) -> Span | None:
        seen.append((at, len(text) - at))
        return None

    asks = Detector("ask", "f", 1, "", (b"here_",), find, back=100, reach=300, wraps=False)
    scanner = Scanner([asks])
    for filler in ("x ", "\n", "\u200b", "\\\\\\\\", "é", "%41", '"'):
        for size in (0, 30, 2000):
            seen.clear()
            text = filler * size + "|here_|" + filler * size
            scanner.scan(body(text))
            whole = Canonical([asks]).text(body(text))
            at, after = seen[0]
            assert at >= min(100, whole.index(b"here_"))
            assert after >= min(300, len(whole) - whole.index(b"here_"))


# -- anything at all ----------------------------------------------------------------------------------------------

SECRETS = [SEVEN, OTHER, NPM, LOOSE, "aB3+" * 6]
STARTS = [
    "seven_",
    "npmx_",
    "all_of_it:",
    "fake://u:p@",
    "secret_name",
    "lo-",
    "data:text/plain;base64,",
    "c2V2ZW5f",
]
CHARACTERS = [*'\\%\n\u200b" =:éa/\0😀', "\ud83d", "\\n", "%2573", "\n  ", "\\u0073", MARK]
WORDS = SECRETS + STARTS + CHARACTERS
PIECE = (
    st.sampled_from(WORDS)
    | st.text(max_size=4)
    | st.builds(lambda text, at: text[:at], st.sampled_from(WORDS), st.integers(1, 20))
)
TEXT = st.lists(PIECE, max_size=8).map("".join)
PART = st.builds(lambda text: {"type": "text", "text": text}, TEXT)
MESSAGE = st.builds(lambda parts: {"role": "user", "content": parts}, st.lists(PART, max_size=4))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT | MESSAGE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def spelt(text: str, choices: Iterator[int]) -> str:
    """JSON of ``text``, each character in one of the ways that there are."""
    out = []
    for character in text:
        plain = json.dumps(character, ensure_ascii=False)[1:-1]
        escaped = json.dumps(character)[1:-1]
        units = character.encode("utf-16-be", "surrogatepass")
        numeric = "".join(
            f"\\u{int.from_bytes(units[at : at + 2], 'big'):04X}" for at in range(0, len(units), 2)
        )
        is_lone = 0xD800 <= ord(character) <= 0xDFFF
        out.append(numeric if is_lone else (plain, plain, plain, escaped, numeric)[next(choices) % 5])
    return '"' + "".join(out) + '"'


def written(value: Any, choices: Iterator[int]) -> str:
    space = ("", "", " ", "\n  ")[next(choices) % 4]
    if isinstance(value, str):
        return spelt(value, choices)
    if isinstance(value, list):
        return f"[{space}" + f",{space}".join(written(each, choices) for each in value) + f"{space}]"
    if isinstance(value, dict):
        members = (
            f"{spelt(name, choices)}{space}:{space}{written(each, choices)}" for name, each in value.items()
        )
        return f"{{{space}" + f",{space}".join(members) + f"{space}}}"
    return json.dumps(value)


def numbers(seed: int) -> Iterator[int]:
    while True:
        seed = (seed * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        yield seed >> 33


def pairs(raw: bytes) -> Any:
    return json.loads(raw, object_pairs_hook=lambda found: ("object", found))


def differences(before: Any, after: Any, pointer: str) -> Iterator[str]:
    """Pointers, in the redacted tree, of strings and names that are not the same."""
    if isinstance(before, tuple):
        assert isinstance(after, tuple)
        for (old_name, old), (name, new) in zip(before[1], after[1], strict=True):
            inner = f"{pointer}/{_token(name)}"
            if old_name != name:
                yield inner
            yield from differences(old, new, inner)
    elif isinstance(before, list):
        assert isinstance(after, list)
        for at, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, f"{pointer}/{at}")
    elif isinstance(before, str):
        assert isinstance(after, str)
        if before != after:
            yield pointer
    else:
        assert before == after


def _token(name: str) -> str:
    name = name.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return (name if len(name) <= 200 else name[:200] + "…").replace("~", "~0").replace("/", "~1")


@settings(max_examples=150)
@given(JSON, st.integers(0, 1 << 60))
def test_any_json_stays_json_and_differs_only_where_something_was_found(value: Any, seed: int):
    raw = written(copy.deepcopy(value), numbers(seed)).encode()
    scan = SCANNER.scan(raw)
    changed = set(differences(pairs(raw), pairs(scan.body), ""))
    pointers = {finding.pointer for finding in scan.findings}
    if '"text"' not in json.dumps(value):  # without parts, no rest is cut out of a second string
        assert changed == pointers
    else:
        assert pointers <= changed
    assert bool(scan.findings) == (scan.body is not raw)
    again = SCANNER.scan(scan.body)
    assert again.findings == ()
    assert again.body is scan.body


@settings(max_examples=120)
@given(st.lists(TEXT, max_size=6), st.integers(0, 1 << 60))
def test_every_byte_outside_of_the_secrets_is_as_it_was(texts: list[str], seed: int):
    """The body with a gap for each marker fits the original, and what stood in the gaps are the secrets."""
    raw = written(texts, numbers(seed)).encode().replace(b"REDACTED", b"")
    scan = ONLY_FIXED.scan(raw)
    pieces = re.split(rb"(?:\[REDACTED:fixed:[0-9]+\])+", scan.body)
    original = re.fullmatch(b"(.+?)".join(map(re.escape, pieces)), raw, re.DOTALL)
    assert original is not None
    removed = b"".join(Joined(ONLY_CANONICAL.text(gap)).text for gap in original.groups())
    assert removed == "".join(finding.secret.reveal() for finding in scan.findings).encode()
