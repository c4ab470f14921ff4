"""Declares the metrics of certificates by ACME; part of :mod:`icwsgw.observe.metrics`."""

from __future__ import annotations

from icwsgw.observe import labels
from icwsgw.observe.declaring import Declaring


class AcmeMetrics(Declaring):
    """The ACME part of the metrics of a gateway and of a supervisor, which call the method that declares it."""

    def _of_acme(self) -> None:
        self.acme_orders = self._counters(
            "icws_acme_orders_total",
            "Orders of TLS certificates by ACME, by outcome",
            "outcome",
            labels.ORDER_OUTCOMES,
            advice="failed: the log has the reason and when the next attempt begins. A certificate in use stays.",
        )
        self.acme_missing = self._gauge(
            "icws_acme_missing_certificates",
            "Names of --acme-domain without a valid certificate",
            advice="Clients cannot connect under these names. The status page and the log have the reason.",
        )
