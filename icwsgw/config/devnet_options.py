"""Options of the embedded replica.

Part of :class:`icwsgw.config.schema.GatewayConfig`, in its own module because of its length.
"""

from __future__ import annotations

from dataclasses import dataclass

from icwsgw.config.canister_files import CANISTER_FILES, CanisterFile, check_names
from icwsgw.config.option import ADDRESS, ADMIN, FLAG, option
from icwsgw.errors import ConfigError
from icwsgw.ic.networks import LOCAL_PORTS

#: Default address of the embedded replica: the port of dfx's local network, on loopback.
DEVNET_ADDRESS = f"tcp:{LOCAL_PORTS['dfx']}:interface=127.0.0.1"


@dataclass(frozen=True)
class DevnetOptions:
    """The fields of the embedded replica's options."""

    devnet: bool = option(
        False,
        FLAG,
        "devnet",
        "Run the embedded local replica and its demo canisters in this process.",
        "For trials only: its keys are public.",
        group=ADMIN,
    )
    devnet_listen: str = option(
        DEVNET_ADDRESS,
        ADDRESS,
        "devnet-listen",
        "Address of the embedded replica.",
        "Loopback: anybody who reaches it can change its state.",
        group=ADMIN,
        example="127.0.0.1:4944",
    )
    devnet_canisters: tuple[CanisterFile, ...] = option(
        (),
        CANISTER_FILES,
        "devnet-canister",
        "A canister of one's own on the embedded replica: a module in WebAssembly, or a Python file; with the name of "
        "a demo canister, in its place. FILE.did describes its interface. Repeatable.",
        "Without it there are the demo canisters only.",
        group=ADMIN,
    )
    devnet_reload: bool = option(
        False,
        FLAG,
        "devnet-reload",
        "Upgrade the canisters of --devnet-canister when their files change.",
        "An upgrade ends all sessions of a canister on the WebSocket CDK.",
        group=ADMIN,
    )

    def check_devnet_canisters(self) -> None:
        """Check that the canisters of ``--devnet-canister`` can be there.

        :raises ConfigError: two have the same name, or there is no replica
        """
        check_names(self.devnet_canisters)
        if self.devnet_canisters and not self.devnet:
            raise ConfigError("--devnet-canister needs --devnet: the embedded replica runs the canister")
