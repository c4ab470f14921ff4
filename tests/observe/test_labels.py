from icwsgw import errors
from icwsgw.agent.outcome import OutcomeKind
from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.session_machine import LABELS, State
from icwsgw.gateway.calls.relay import Expired
from icwsgw.gateway.reasons import why_not_open
from icwsgw.observe import labels as declared
from icwsgw.observe.levels import LEVELS


def test_they_cover_what_the_program_says() -> None:
    ours = {kind.cause for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "cause")}
    assert set(declared.CAUSES) == ours
    assert {str(int(code)) for code in CloseCode} <= set(declared.CLOSE_CODES)
    assert set(LABELS) == set(declared.STATES)
    assert {why_not_open(int(code), state) for code in CloseCode for state in State} | {
        "opened",
        "left",
    } == set(declared.OPEN_OUTCOMES)
    ends = {kind.value for kind in OutcomeKind if kind is not OutcomeKind.UNDER_WAY}
    assert ends | {Expired.cause} <= set(declared.RELAY_OUTCOMES)
    assert set(declared.LINE_LEVELS) == set(LEVELS) - {"trace", "off"}


def test_bounds_rise() -> None:
    for bounds in (declared.ROUND_TRIP, declared.OPENING, declared.HANDSHAKE, declared.LIFETIME, declared.QUEUE_LAG):
        assert list(bounds) == sorted(set(bounds))
