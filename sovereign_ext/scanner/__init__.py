"""Leaked credentials in a request: found wherever a client can put a string, and replaced in place.

Works on the bytes of the body and knows no tenant, policy or log. What is found is told by kind and place; its content
leaves this package in a :class:`~sovereign_ext.secret.Secret` only.
"""
