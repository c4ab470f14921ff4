"""Nodes that return false or unreadable answers: if the gateway verifies, such an answer costs a poll, never a session.

False answers therefore do not count as faults: in a world without other faults, the gateway may close no session, and
no client may receive an altered message. If the gateway does not verify pages, clients do. In such worlds, only
messages that were delivered before are altered, because other alterations would end sessions.
"""

from __future__ import annotations

from random import Random
from typing import Any

from icwsgw.ic import cbor
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.ws import encode_batch, parse_get_messages
from tests.simulation.plan import Plan
from tests.simulation.script import Chance
from tests.simulation.subject import Subject

UNKNOWN_NODE = Ed25519Identity(b"\x77" * 32)
#: Without verification, a second answer has to confirm the first. For this many seconds after a false answer there is
#: no further one.
APART = 5.0


class MaliciousNodes(Subject):
    """Replaces some answers to polls by false ones."""

    name = "liar"
    steps = {"lie": 4.0}

    def __init__(self, scenario: Any) -> None:
        super().__init__(scenario)
        self._left = 0
        self._kind = ""
        self._random = Random()
        self._last = -2 * APART
        self._until = 0.0
        self._kept: dict[bytes, bytes] = {}
        self.false_answers = 0
        self.world.liar = self._answer

    @classmethod
    def applies_to(cls, plan: Plan) -> bool:
        return plan.liars

    def lie(self, chance: Chance) -> str | None:
        plan, now = self.world.plan, self.world.clock.seconds()
        kinds = ["reset", "old"]
        if plan.verify_batches or (plan.signed_queries and not plan.trusting):
            kinds += ["altered", "altered", "certificate", "tree"]
        if plan.signed_queries and not plan.trusting:
            kinds += ["signature", "stranger", "no signature"]
        kind, count = chance.choice(kinds), chance.choice((1, 2, 5, 40))
        if plan.trusting:
            if now < self._last + APART:
                return None
            count = 1
        # many at once, but for less time than a canister may be silent; an old answer looks like a reset queue, which
        # the gateway accepts after a while
        self._until = now + 2.0 if count > 5 or kind == "old" else float("inf")
        if count > 5 and now < self._last + 2 * APART:
            return None
        self._kind, self._left, self._random, self._last = kind, count, Random(chance.getrandbits(32)), now
        return f"a node lies, {count} times: {kind}"

    def _answer(self, body: bytes, content: bytes) -> bytes:
        """The false answer that a node returns in place of the true one."""
        before = self._kept.setdefault(body, content)
        if not self._left or self.world.clock.seconds() > self._until:
            return content
        answer = dict(cbor.loads(content))
        if answer.get("status") != "replied":
            return content
        if self._kind == "old":
            changed: bytes | None = before
        elif self._kind in ("signature", "stranger", "no signature"):
            changed = cbor.dumps_tagged({**answer, "signatures": self._signatures(answer["signatures"])})
        else:
            page = self._page(answer["reply"]["arg"])
            if page is not None:
                self.oracle.altered.add(page)
            changed = None if page is None else cbor.dumps_tagged({**answer, "reply": {"arg": page}})
        if changed is None:
            return content
        self._left -= 1
        self.false_answers += 1
        return changed

    def _signatures(self, signatures: list[Any]) -> list[Any]:
        if self._kind == "no signature":
            return []
        (signature,) = [dict(each) for each in signatures]
        if self._kind == "stranger":
            signature["identity"] = UNKNOWN_NODE.principal.raw
        else:
            signature["signature"] = self._flipped(signature["signature"])
        return [signature]

    def _page(self, reply: bytes) -> bytes | None:
        """An altered page, or None if there is nothing to alter."""
        batch = parse_get_messages(reply)
        if not batch.messages:
            return None
        messages, cert, tree = list(batch.messages), batch.cert, batch.tree
        if self._kind == "altered":
            at = self._random.randrange(len(messages))
            principal, nonce, key, message = messages[at]
            messages[at] = (principal, nonce, key, self._flipped(message))
        elif self._kind == "certificate":
            cert = self._flipped(cert)
        elif self._kind == "tree":
            tree = self._flipped(tree)
        else:
            principal, nonce, key, message = messages[0]
            process = self.world.processes[0]
            poller = next(iter(process.gateway.registry.pollers.values()), None)
            delivered = poller is not None and int(key.rpartition(b"_")[2]) < poller.cursor.next
            alone = len(self.world.processes) == 1 and len(process.gateway.registry.pollers) == 1
            if not alone or not delivered:
                return None
            # the message that a probe looks for has another content, as after a reset
            messages[0] = (principal, nonce, key, self._flipped(message))
        return encode_batch(messages, cert, tree, batch.end_of_queue)

    def _flipped(self, data: bytes) -> bytes:
        at = self._random.randrange(len(data))
        return data[:at] + bytes((data[at] ^ (1 << self._random.randrange(8)),)) + data[at + 1 :]
