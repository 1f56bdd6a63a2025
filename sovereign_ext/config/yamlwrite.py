"""Plain data → YAML as a person would write it. ``yamltree`` reads it back as the same data."""

from __future__ import annotations

from typing import Any

import yaml


def rendered(data: dict[str, Any]) -> str:
    """YAML for people: keys and statements as blocks, in the order in which they are."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Text of several lines as a block."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text and not any(line.endswith(" ") for line in text.split("\n")) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
