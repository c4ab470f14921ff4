"""A client of canisters behind a gateway, in Python: the same guarantees as the JavaScript clients give.

:mod:`~icwsgw.client.asyncio_client` and :mod:`~icwsgw.client.twisted_client` have sockets;
:mod:`~icwsgw.client.client_machine` has none and runs on anything. The Candid, the principals, certificates and
identities are those of :mod:`icwsgw.ic`.
"""
