"""Adding and revoking keys in the text of the file, whatever its layout."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sovereign_ext.config.edit import Section, add_key, revoke_key, snippet
from sovereign_ext.config.load import parse
from sovereign_ext.config.model import Key
from sovereign_ext.errors import ConfigErrors

NEW = Key(id="new", hash="sha256:" + "f" * 64, expires_at=datetime(2027, 1, 31, 12, tzinfo=UTC))
OLD_HASH = "sha256:" + "0" * 64
AT = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
TAIL = """\
    policies: [p]   # allowed
    default_policy: p

# what they may do
policies:
  - id: p
"""

LAYOUTS = {
    "block": (
        f"    keys:\n      # first\n      - id: old   # laptop\n        hash: {OLD_HASH}  # x\n\n    # end\n"
    ),
    "block, dashes not indented": f"    keys:\n    - id: old\n      hash: {OLD_HASH}\n",
    "block, flow items": f'    keys:\n      - {{id: old, hash: "{OLD_HASH}"}}   # laptop\n',
    "block, flow item over two lines": f'    keys:\n      - {{id: old,\n         hash: "{OLD_HASH}"}}\n',
    "flow": f'    keys: [{{id: old, hash: "{OLD_HASH}"}}]  # c\n',
    "flow, trailing comma": f'    keys: [\n      {{id: old, hash: "{OLD_HASH}"}},  # c\n    ]\n',
    "block in quotes": f"    'keys':\n      - 'id': 'old'\n        \"hash\": '{OLD_HASH}'\n",
}


def file(keys: str, tail: str = TAIL) -> str:
    return "# ours\nversion: 1\ntenants:\n  - id: acme   # the first\n" + keys + tail


def kept(before: str, after: str) -> bool:
    """Whether every comment is still there."""
    return [line.partition("#")[2] for line in before.splitlines() if "#" in line] == [
        line.partition("#")[2] for line in after.splitlines() if "#" in line
    ]


@pytest.mark.parametrize(
    "keys",
    [*LAYOUTS.values(), "", "    keys: []\n", "    keys:    []  # none yet\n", "    keys: [ ]\n"],
    ids=[*LAYOUTS, "no keys", "empty", "empty with comment", "empty with a space"],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_key_is_added_and_everything_else_kept(keys: str, newline: str) -> None:
    """The new file means the old one plus the key; lines and comments stay."""
    before = file(keys).replace("\n", newline)
    after = add_key(before, "tenants", "acme", NEW)
    assert after is not None
    old, new = parse(before).tenants[0], parse(after).tenants[0]
    assert new.keys == (*old.keys, NEW)
    assert kept(before, after)
    assert after.count("\r\n") == (after.count("\n") if newline == "\r\n" else 0)


def test_a_block_key_lands_right_after_the_others() -> None:
    """As a person would write it: same indentation, before the blank line and the next comment."""
    after = add_key(file(LAYOUTS["block"]), "tenants", "acme", NEW)
    assert after is not None
    assert (
        f"""\
        hash: {OLD_HASH}  # x
      - id: new
        hash: "{NEW.hash}"
        expires_at: 2027-01-31T12:00:00Z

    # end
"""
        in after
    )


@pytest.mark.parametrize("keys", LAYOUTS.values(), ids=LAYOUTS)
def test_a_key_is_revoked_and_everything_else_kept(keys: str) -> None:
    """Only ``revoked_at`` is new."""
    before = file(keys)
    after = revoke_key(before, "tenants", "acme", "old", AT)
    assert after is not None
    old, new = parse(before).tenants[0].keys[0], parse(after).tenants[0].keys[0]
    assert new == old.model_copy(update={"revoked_at": AT})
    assert kept(before, after)


def test_a_revocation_in_the_future_is_brought_forward() -> None:
    """The field is there already, so its value changes."""
    before = file(LAYOUTS["block"].replace("  # x\n", "\n        revoked_at: 2030-01-01  # later\n"))
    after = revoke_key(before, "tenants", "acme", "old", AT)
    assert after is not None
    assert "revoked_at: 2026-05-06T07:08:09Z  # later\n" in after


def test_a_tenant_in_one_line_is_edited_too() -> None:
    """Flow mappings have no lines to insert."""
    before = "version: 1\ntenants: [{id: acme, policies: [p], default_policy: p}]\npolicies: [{id: p}]\n"
    after = add_key(before, "tenants", "acme", NEW)
    assert after is not None
    assert parse(after).tenants[0].keys == (NEW,)


@pytest.mark.parametrize(
    "head",
    ["", "admins: []  # none\n", f"admins:\n  - id: a\n    keys: [{{id: x, hash: {OLD_HASH}}}]\n"],
    ids=["no section", "empty section", "another admin"],
)
def test_an_admin_is_made_with_its_first_key(head: str) -> None:
    """An admin cannot exist without a key, so the command that makes the key makes the admin."""
    before = "version: 1\n" + head + "models: [{id: m}]  # last line, no newline"
    after = add_key(before, "admins", "ops", NEW)
    assert after is not None
    assert parse(after).admins[-1].id == "ops"
    assert parse(after).admins[-1].keys == (NEW,)
    assert parse(after).admins[:-1] == parse(before).admins
    assert kept(before, after)


def test_ids_that_yaml_would_not_read_as_text_are_quoted() -> None:
    """``no``, ``12`` and ``1e3`` are ids as good as any."""
    text = file("    keys: []\n")
    for number, key_id in enumerate(["no", "12", "1e3", "null", "2027-01-01", "0x1f", "1.5"]):
        changed = add_key(text, "tenants", "acme", Key(id=key_id, hash=f"sha256:{number:064}"))
        assert changed is not None
        text = changed
    assert [key.id for key in parse(text).tenants[0].keys] == [
        "no", "12", "1e3", "null", "2027-01-01", "0x1f", "1.5"
    ]  # fmt: skip


SHARED = """\
version: 1
tenants:
  - {id: a, keys: &k [], policies: [p], default_policy: p}
  - {id: acme, keys: *k, policies: [p], default_policy: p}
policies: [{id: p}]
"""


@pytest.mark.parametrize("text", [SHARED, "version: 1\n"], ids=["keys behind an alias", "no such tenant"])
def test_what_cannot_be_changed_safely_is_left_alone(text: str) -> None:
    """The answer is no text at all rather than one that means something else."""
    assert add_key(text, "tenants", "acme", NEW) is None
    assert revoke_key(text, "tenants", "acme", "old", AT) is None


@pytest.mark.parametrize("section", ["tenants", "admins"])
def test_a_file_with_faults_is_not_changed(section: Section) -> None:
    """The faults are reported instead."""
    with pytest.raises(ConfigErrors):
        add_key("version: 2\n", section, "acme", NEW)
    with pytest.raises(ConfigErrors):
        revoke_key("version: 2\n", section, "acme", "old", AT)


def test_the_snippet_is_what_a_person_can_paste() -> None:
    """Two lines of a block list, hash quoted."""
    assert snippet(Key(id="k", hash=NEW.hash)) == f'- id: k\n  hash: "{NEW.hash}"\n'
