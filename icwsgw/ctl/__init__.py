"""``icwsctl``: the command line of the admin API. It does not import Twisted, so that it starts quickly."""
