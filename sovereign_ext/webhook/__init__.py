"""Tells receivers outside of each finding in the log, by signed webhooks (ADR 0020)."""
