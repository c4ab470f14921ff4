from __future__ import annotations

from random import Random

import pytest

from icwsgw.devnet.canister_logs import CanisterLogs
from icwsgw.devnet.management import Management
from icwsgw.errors import Rejected
from icwsgw.ic import candid


def test_random_bytes_come_from_the_seed() -> None:
    one, other = (Management(Random(7), CanisterLogs(lambda: 0)) for _ in range(2))
    first = one.call("raw_rand", candid.encode([], []))
    (value,) = candid.decode_as(first, [candid.Blob])
    assert len(value) == 32
    assert other.call("raw_rand", candid.encode([], [])) == first
    assert one.call("raw_rand", candid.encode([], [])) != first


def test_a_method_that_is_not_there() -> None:
    with pytest.raises(Rejected, match="no method 'http_request'") as caught:
        Management(Random(7), CanisterLogs(lambda: 0)).call("http_request", b"")
    assert caught.value.error_code == "IC0536"
