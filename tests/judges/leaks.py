"""detect-secrets as a judge of redaction: which credentials it sees in a text.

Run in the judges' environment; asked and answered as ``answering`` says. Its plugins for formats and its measure of
entropy are asked; not the one for words such as ``password``, which takes any value beside them for a secret. Nothing
is verified over a network.
"""

from __future__ import annotations

import tempfile

from answering import answer
from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.core.scan import scan_file
from detect_secrets.settings import transient_settings

LEFT_OUT = {"KeywordDetector", "IPPublicDetector"}


def found(*, text: str) -> list[list[str]]:
    """Type and value of each secret that it sees, as in a file of the user's."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        return sorted({(each.type, each.secret_value or "") for each in scan_file(file.name)})


names = {each.__name__ for each in get_mapping_from_secret_type_to_class().values()} - LEFT_OUT
with transient_settings({"plugins_used": [{"name": name} for name in sorted(names)]}):
    answer({"found": found})
