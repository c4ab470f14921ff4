"""Decisions of the gateway, pure: no Twisted, no clock, no logger."""
