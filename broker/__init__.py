"""Stafett: a federation broker for partner single sign-on."""

__version__ = "0.1.0"
