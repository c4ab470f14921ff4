"""Runs ``icws doctor``: looks at each thing between a client and a canister, in the order in which they are needed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from icwsgw.cli import cli_options, doctor_judge
from icwsgw.cli.cli_options import Places
from icwsgw.cli.doctor_judge import Grade, Remark
from icwsgw.cli.gateway_probe import Probe, ProbeOutcome, probe
from icwsgw.client.client_errors import ClientError, MessageTooBig
from icwsgw.client.client_settings import ClientSettings
from icwsgw.client.message_verifier import parse_certified, parse_content
from icwsgw.client.network_requests import NetworkRequests
from icwsgw.client.root_key import MAINNET_ROOT_KEY
from icwsgw.errors import FormatError, IcwsError, SignatureInvalid
from icwsgw.ic import ws
from icwsgw.ic.candid.did import Interface
from icwsgw.ic.certificate import Certificate, TrustedDelegation, decode_certificate, verify_delegation
from icwsgw.ic.envelope import Signer
from icwsgw.ic.hashtree import Found
from icwsgw.ic.network_limits import SECOND_NS

if TYPE_CHECKING:
    from icwsgw.client.asyncio_client import AsyncioClient

#: Seconds in which a canister may send messages by itself, and seconds without one after which it has sent all of them.
BY_ITSELF_SECONDS, QUIET_SECONDS = 3.0, 1.0


@dataclass
class Examination:
    """What is known so far, and what has been found.

    :ivar offsets: how far clocks are ahead of this machine's, in seconds
    :ivar payloads: the first messages that came through the gateway
    """

    parsed: Namespace
    where: Places
    signer: Signer
    say: Callable[[Remark], None]
    findings: list[Remark] = field(default_factory=list)
    offsets: dict[str, float | None] = field(default_factory=dict)
    key: bytes | None = None
    interface: Interface | None = None
    payloads: list[bytes] = field(default_factory=list)

    def found(self, *findings: Remark) -> None:
        """Note and say findings."""
        for finding in findings:
            self.findings.append(finding)
            self.say(finding)

    # -- the gateway, from outside ------------------------------------------------------------------------------

    def look_at_gateway(self) -> bool:
        """Look at its port; False: it cannot be reached."""
        url = self.where.gateway
        seen = probe(url, self.parsed.origin, self.parsed.timeout)
        self.found(doctor_judge.judge_probe(url, seen))
        self.found(*doctor_judge.judge_page(url, self.parsed.origin, seen), *doctor_judge.judge_load(seen))
        self.offsets["gateway"] = seen.clock_offset
        return is_open(seen)

    # -- the network ------------------------------------------------------------------------------------------------

    def look_at_network(self) -> None:
        """Look at the network and its root key."""
        requests = NetworkRequests(self.where.network, self.parsed.timeout)
        try:
            status = requests.status()
            self.key = cli_options.root_key(self.parsed, self.where.network)
        except ClientError as error:
            self.found(Remark("network", Grade.BAD, str(error), error.hint))
            return
        served = status.get("root_key")
        if served != self.key:
            says = "the root key is not the one that the network itself tells"
            self.found(Remark("root key", Grade.BAD, says, "Check --root-key and --network."))
        else:
            name = "mainnet's" if self.key == MAINNET_ROOT_KEY else "a local or private network's"
            self.found(Remark("network", Grade.GOOD, f"{self.where.network} answers; its root key is {name}"))
        self.found(*doctor_judge.judge_network_for_page(self.where.network, self.parsed.origin))

    def look_at_canister(self) -> None:
        """Look at what the network certifies of the canister, at its methods, and at its answer to a poll."""
        if self.key is None:
            self.found(Remark("canister", Grade.SKIPPED, "not looked at without the network"))
            return
        # clocks are judged on their own
        requests = NetworkRequests(self.where.network, self.parsed.timeout, check_time=False)
        canister = self.where.canister
        before = time.time()
        try:
            module = (b"canister", canister.raw, b"module_hash")
            certificate = requests.read_state(canister, [(b"time",), module], self.key)
        except (ClientError, SignatureInvalid) as error:
            self.look_at_clocks("gateway")
            hint = error.hint if isinstance(error, ClientError) else ""
            advice = hint or "Check the canister id, and that --network is the network that it is on."
            self.found(Remark("canister", Grade.BAD, f"the network does not know it: {error}", advice))
            return
        self.offsets["network"] = certificate.time_ns / SECOND_NS - (before + time.time()) / 2
        self.look_at_clocks("gateway", "network")
        self.found(_existence(certificate, module))
        self.interface = cli_options.interface(self.parsed, self.where, self.key, check_time=False)
        self.found(*doctor_judge.judge_methods(self.interface))
        self.found(doctor_judge.judge_poll(self._poll(requests)))

    def look_at_clocks(self, *names: str) -> None:
        """Compare clocks with this machine's, as far as they are known."""
        self.found(*doctor_judge.judge_clocks({name: self.offsets.get(name) for name in names}))

    def _poll(self, requests: NetworkRequests) -> IcwsError | None:
        try:
            reply = requests.query(self.where.canister, "ws_get_messages", ws.encode_get_messages(0), self.signer)
            ws.parse_get_messages(reply)
        except IcwsError as error:
            return error
        return None

    # -- through the gateway ------------------------------------------------------------------------------------------

    async def open_session(self) -> None:
        """Open a session, and look at what comes through it."""
        if self.key is None:
            self.found(Remark("opening", Grade.SKIPPED, "not tried without the root key"))
            return
        # the transport is loaded here, so that the command's help needs none of it
        from icwsgw.client.asyncio_client import AsyncioClient

        form, kind = cli_options.message_format(self.parsed, self.interface)
        client: AsyncioClient[bytes] = AsyncioClient(
            self.where.gateway,
            self.where.canister,
            identity=self.signer,
            root_key=self.key,
            codec=cli_options.TypedBytes(kind),
            settings=ClientSettings(reconnect=False, open_timeout=self.parsed.timeout),
            origin=self.parsed.origin,
            on_payload=lambda payload: self.payloads.append(payload) if len(self.payloads) < 2 else None,
        )
        began = time.monotonic()
        failure: ClientError | None = None
        try:
            await client.opened()
        except ClientError as error:
            failure = error
        self.found(doctor_judge.judge_opening(failure, time.monotonic() - began))
        try:
            if failure is None:
                await self._exchange(client, form)
        finally:
            await client.close()

    async def _exchange(self, client: AsyncioClient[bytes], form: Any) -> None:
        message = self.parsed.message
        seconds = self.parsed.timeout if message is not None else min(self.parsed.timeout, BY_ITSELF_SECONDS)
        answered = False
        try:
            if message is not None:
                await self._pass_over(client)
                client.send(form.read(message))
            began = time.monotonic()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(client.receive(), seconds)
                answered = True
        except MessageTooBig as error:
            self.found(doctor_judge.judge_too_big(error))
            return
        except ClientError as error:
            self.found(doctor_judge.judge_session_end(error))
            return
        took = time.monotonic() - began
        self.found(doctor_judge.judge_echo(message is not None, answered, took if answered else seconds))

    async def _pass_over(self, client: AsyncioClient[bytes]) -> None:
        """Take the messages that the canister sends by itself, such as a greeting: they answer nothing."""
        loop = asyncio.get_running_loop()
        end = loop.time() + BY_ITSELF_SECONDS
        with contextlib.suppress(asyncio.TimeoutError):
            while (left := end - loop.time()) > 0:
                await asyncio.wait_for(client.receive(), min(left, QUIET_SECONDS))

    def look_at_messages(self) -> None:
        """Look at how the first message was made, and with which delegation it came."""
        if len(self.payloads) < 2 or self.key is None:
            return
        with contextlib.suppress(ClientError, FormatError, SignatureInvalid):
            message = parse_certified(self.payloads[1])
            self.offsets["canister"] = parse_content(message.content).timestamp / SECOND_NS - time.time()
            self.look_at_clocks("canister")
            self.found(doctor_judge.judge_cdk(message.content))
            self.found(Remark("gateway's network", Grade.GOOD, "its messages are signed by the network that was named"))
            trusted = _delegation(message.cert, self.key)
            self.found(doctor_judge.judge_delegation(trusted, self.where.canister, self.parsed.sdk))


def is_open(seen: Probe) -> bool:
    """Return whether sessions may be tried."""
    return seen.outcome is ProbeOutcome.UPGRADED


def _existence(certificate: Certificate, module: tuple[bytes, ...]) -> Remark:
    found = certificate.lookup(module)
    if isinstance(found, Found):
        return Remark("canister", Grade.GOOD, f"it exists, with the code {found.value.hex()[:16]}")
    advice = "Check the canister id, and install the canister's code."
    return Remark("canister", Grade.BAD, "there is no canister of this id with code in it", advice)


def _delegation(cert: bytes, key: bytes) -> TrustedDelegation | None:
    delegation = decode_certificate(cert).delegation
    return None if delegation is None else verify_delegation(delegation, root_key_der=key, now_ns=None)


def examine(parsed: Namespace, where: Places, signer: Signer, say: Callable[[Remark], None]) -> int:
    """Look at everything, say what is found, and return the exit status."""
    examination = Examination(parsed, where, signer, say)
    examination.found(*doctor_judge.judge_sdk(parsed.sdk))
    reached = examination.look_at_gateway()
    examination.look_at_network()
    examination.look_at_canister()
    if reached:
        asyncio.run(examination.open_session())
        examination.look_at_messages()
    else:
        examination.found(Remark("opening", Grade.SKIPPED, "not tried, because the gateway opens no WebSocket"))
    return doctor_judge.exit_status(examination.findings)
