"""``icwsctl``: the admin API by command line, for people and scripts. Knows no Twisted, so that it starts at once."""
