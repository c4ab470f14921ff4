from __future__ import annotations

import re

from icwsgw.admin.status import SERIES
from icwsgw.admin.tiles import TILES, tiles
from tests.admin.documents import document


def texts(html: str) -> dict[str, list[str]]:
    """Title -> figure, note and scale of each tile, without tags."""
    found = {}
    for part in html.split('<div class="tile">')[1:]:
        pieces = [re.sub(r"<[^>]+>", "", piece).strip() for piece in re.split(r"</h3>|</p>|<span>|</svg>", part)]
        title, *others = [piece for piece in pieces if piece]
        found[title] = others
    return found


def test_every_tile_has_its_series_and_a_curve() -> None:
    assert {tile.series for tile in TILES} == set(SERIES) - {"failed"}
    html = tiles(document())
    assert html.count("<svg") == html.count('class="line"') == len(TILES)


def test_what_they_say() -> None:
    series = {
        "clients": [1.0, 12345.0, 11.0],
        "up": [0.0, 0.4],
        "down": [1234.5],
        "lag": [0.25, None],
        "polls": [40.0],
        "failed": [0.2],
        "loop_lag": [0.0032],
        "cpu": [0.25],
        "memory": [70.0 * 2**20],
    }
    seen = texts(tiles(document(history={"interval": 5.0, "end": 0, "series": series})))
    assert seen == {
        "Clients": ["12", "2 opening", "10 min", "max 12,345"],
        "Messages up": ["0.4/s", "5 failed so far", "10 min", "max 0.4/s"],
        "Messages down": ["1,234/s", "10 for clients gone", "10 min", "max 1,234/s"],
        "Message lag": ["–", "canister to client", "10 min", "max 250 ms"],
        "Polls": ["40/s", "0.2/s failed", "10 min", "max 40/s"],
        "Event loop lag": ["3.2 ms", "worst of 5 s", "10 min", "max 3.2 ms"],
        "CPU": ["25 %", "of one core", "10 min", "max 25 %"],
        "Memory": ["70 MiB", "resident", "10 min", "max 70 MiB"],
    }


def test_before_the_first_sample() -> None:
    seen = texts(tiles(document(history={"interval": 5.0, "end": 0, "series": {}})))
    assert seen["Clients"] == ["12", "2 opening", "10 min", "no figures yet"]
    assert seen["Polls"] == ["–", "0/s failed", "10 min", "no figures yet"]


def test_several_workers_have_their_memory_together() -> None:
    status = document()
    status["workers"] *= 2
    assert texts(tiles(status))["Memory"][1] == "of all workers"
