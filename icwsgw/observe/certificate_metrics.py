"""Declares the metrics of TLS certificates; part of :mod:`icwsgw.observe.metrics`."""

from __future__ import annotations

from icwsgw.observe import labels
from icwsgw.observe.declaring import Declaring


class CertificateMetrics(Declaring):
    """The metrics of certificates in use, and of those that ACME brings. A supervisor has the second part only."""

    def _of_certificates(self) -> None:
        self.tls_certificate_expiry = self._gauge(
            "icws_tls_certificate_expiry_seconds",
            "Time at which the first certificate in use expires, seconds since 1970",
            merge="least",
            advice="Check the renewal. New files are used without a restart.",
        )
        self.tls_certificate_expiry.set(None)
        self.tls_certificates = self._gauges(
            "icws_tls_certificates",
            "Certificates in use, by whether they should have been renewed: overdue from 14 days before the expiry or, "
            "if that is later, from the last sixth of the lifetime on; urgent from 3 days or the last twentieth on, "
            "and if clients refuse the dates",
            "renewal",
            labels.RENEWAL_STATES,
            merge="greatest",
            advice="overdue or urgent: check the renewal. New files are used without a restart.",
        )
        self.tls_reloads = self._gauges(
            "icws_tls_reloads_total",
            "Reloads of changed certificate files, by outcome",
            "outcome",
            labels.RELOAD_OUTCOMES,
            "counter",
            advice="failed: the log has the reason. The previous certificate stays in use.",
        )

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
