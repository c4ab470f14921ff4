"""Settings for all tests."""

from hypothesis import settings

# A slow machine is no failure: hypothesis measures each example against a deadline unless told not to.
settings.register_profile("icwsgw", deadline=None)
settings.load_profile("icwsgw")
