"""The access lists of one process: from files, and the kept copies of those from URLs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import MultiService

from icwsgw.config.access_list import AccessRules
from icwsgw.config.schema import GatewayConfig
from icwsgw.observe.health import Health
from icwsgw.server.access_files import AccessFiles, KeptAt
from icwsgw.server.access_urls import ALLOW, DENY, AccessUrls, MakeHttp, kept_path


class AccessLists(MultiService):
    """Watches files and kept copies, and fetches lists unless another process does.

    :param apply: gets the rules when they have changed
    :param make_http: makes the clients that fetch lists from URLs; None: the supervisor fetches them
    :raises ConfigError: a file cannot be read, or is invalid
    """

    def __init__(
        self, config: GatewayConfig, reactor: Any, apply: Callable[[AccessRules], None], make_http: MakeHttp | None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        urls = {DENY: config.deny_list_url, ALLOW: config.allow_list_url}
        kept = {
            name: None if url is None else KeptAt(kept_path(config.data_dir, name), url) for name, url in urls.items()
        }
        self._files = AccessFiles(
            config.deny_list, config.allow_list, reactor, apply, kept_denied=kept[DENY], kept_allowed=kept[ALLOW]
        )
        self._urls = None
        if make_http is not None and any(urls.values()):
            self._urls = AccessUrls(config, reactor, self._files.look, make_http)
        for service in (self._files, self._urls):
            if service is not None:
                added: Any = service
                added.setServiceParent(self)

    @property
    def rules(self) -> AccessRules:
        """The present rules."""
        return self._files.rules

    def look(self) -> None:
        """Look at the files now, and ask the URLs' servers."""
        self._files.look()
        if self._urls is not None:
            self._urls.look()

    def look_at_copies(self) -> None:
        """Look at the kept copies now, because the supervisor has changed one."""
        self._files.look()

    def change(self, config: GatewayConfig) -> None:
        """Apply other options of a running gateway."""
        if self._urls is not None:
            self._urls.change(config)

    def watch(self, health: Health, metrics: Any) -> None:
        """Tell of the lists in readiness, on the status page and in metrics."""
        health.add("access_lists", self._files.unready)
        health.add_concern(self._files.concern)
        if self._urls is not None:
            self._urls.watch(health, metrics)
