"""Confidential-computing evidence at the edge: fetched, verified and kept fresh in the background.

``service`` is what the application holds; ``board`` is what calls read, from memory and without waiting. A call
never causes a fetch. What evidence has to say is decided in ``registry``.
"""
