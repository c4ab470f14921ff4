"""A kit for tests of applications: a local network and a gateway in processes of their own, and a client.

:mod:`~icwsgw.testing.pytest_plugin` has them as fixtures. :mod:`~icwsgw.testing.devnet_process`,
:mod:`~icwsgw.testing.gateway_process` and :mod:`~icwsgw.testing.blocking_client` work with any test runner.
"""
