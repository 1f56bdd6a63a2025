"""SovereignRouter: an OpenAI-compatible gateway that can prove afterwards what it did."""

__version__ = "0.1.0"
