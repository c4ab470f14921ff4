"""The formats of the Internet Computer, pure: no Twisted, no clock."""
