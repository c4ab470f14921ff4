from functools import partial

from icwsgw.observe.health import Finding, Health


def test_ready_when_every_check_is_content() -> None:
    health = Health()
    assert health.ready
    reasons: dict[str, str | None] = {"network": "not reached", "draining": None}
    for name in reasons:
        health.add(name, partial(reasons.__getitem__, name))
    assert health.findings() == [Finding("network", "not reached"), Finding("draining", None)]
    assert not health.ready
    reasons["network"] = None
    assert health.ready


def test_a_check_that_fails_is_a_reason() -> None:
    def fails() -> None:
        raise LookupError("nothing there")

    health = Health()
    health.add("broken", fails)
    assert health.findings() == [Finding("broken", "the check failed: LookupError: nothing there")]
    health.add("broken", lambda: None)
    assert health.ready
