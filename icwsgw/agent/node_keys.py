"""The keys of the nodes that may sign the answers to queries (interface spec, "Request: Query call").

They come from a certificate for ``/subnet``, and are read again when a node signs an answer that is not among them.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from icwsgw.agent.subnet_cache import SubnetCache
from icwsgw.agent.trust import Trust
from icwsgw.errors import CertificateInvalid
from icwsgw.ic.certificate import Certificate, node_keys, root_ranges_cover, subnet_of
from icwsgw.ic.principal import Principal
from icwsgw.reactor.clock import Clock

#: Public keys in DER, by node id.
NodeKeys = dict[bytes, bytes]


class NodeKeyCache(SubnetCache[NodeKeys]):
    """The node keys of canisters' subnets.

    :param reactor: source of time
    :param trust: for the root key
    :param read_subnet: reads and verifies the certificate for ``/subnet`` at a canister's subnet
    """

    __slots__ = ()

    def __init__(self, reactor: Clock, trust: Trust, read_subnet: Callable[[Principal], Deferred[Certificate]]) -> None:
        super().__init__(reactor, trust, read_subnet, _node_keys)


def _node_keys(certificate: Certificate, root_key: bytes, canister: Principal) -> NodeKeys:
    if certificate.delegation is None and root_ranges_cover(certificate, root_key, canister) is None:
        raise CertificateInvalid("the root subnet does not show its canister ranges")
    return node_keys(certificate, subnet_of(certificate, root_key))
