"""The metrics of access lists from URLs: of a gateway of one process, or of the supervisor, which fetches them."""

from __future__ import annotations

from icwsgw.observe import labels
from icwsgw.observe.declaring import Declaring


class AccessListMetrics(Declaring):
    """Declares them."""

    def _access_lists(self) -> None:
        self.access_list_age = self._gauge(
            "icws_access_list_age_seconds",
            "Time since the access list of --deny-list-url or --allow-list-url was last fetched, or said to be the "
            "same: of both the longer one; +Inf: never",
            merge="greatest",
            advice="More than --access-list-interval: its server is away or serves no list. See the log.",
        )
        self.access_list_age.set(None)
        self.access_list_fetches = self._gauges(
            "icws_access_list_fetches_total",
            "Fetches of access lists from their URLs, by outcome",
            "outcome",
            labels.LIST_OUTCOMES,
            "counter",
            advice="failed: the log has the reason. The list fetched before stays in force.",
        )
