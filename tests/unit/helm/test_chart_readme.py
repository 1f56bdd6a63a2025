"""The chart's README is made from its values, and every value says what it is for."""

from __future__ import annotations

from helm_world import CHART, ROOT
from our_scripts import script

README = script("helm_readme")


def test_the_table_of_values_is_up_to_date() -> None:
    """`python scripts/helm_readme.py` makes it."""
    current = (CHART / "README.md").read_text("utf-8")
    assert README.readme(current, (CHART / "values.yaml").read_text("utf-8")) == current


def test_a_comment_belongs_to_the_key_below_it() -> None:
    """Groups are listed when they have one; a flow mapping is one value."""
    text = '# All\n# of it.\na:\n  # One | two.\n  b: {c: 1}\n  d: []\ne: ""\n'
    assert [(row.path, row.default, row.meaning) for row in README.rows(text)] == [
        ("a", None, "All of it."),
        ("a.b", "{c: 1}", "One | two."),
        ("a.d", "[]", ""),
        ("e", '""', ""),
    ]
    assert "| `a.b` | `{c: 1}` | One \\| two. |" in README.table(text)


def test_versions_of_chart_and_program_are_the_same() -> None:
    """Chart and image are released together."""
    chart = (CHART / "Chart.yaml").read_text("utf-8")
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    version = project.split('\nversion = "')[1].split('"')[0]
    assert f"\nversion: {version}\n" in chart
    assert f"\nappVersion: {version}\n" in chart
