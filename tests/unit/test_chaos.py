"""The chaos harness's own work: what it draws, how it keeps account, and that it can go on."""

import json
import os
import socket
import threading
from collections import Counter

import pytest

from benchmarks.chaos import report
from benchmarks.chaos.account import Found, settle
from benchmarks.chaos.disk import Disk, mountable
from benchmarks.chaos.fault import HELD_S, POISON, Kind, draw
from benchmarks.chaos.ledger import FILE, Ledger
from benchmarks.chaos.messages import TOKEN, round_of, shares
from benchmarks.chaos.proxy import Proxy

TEXTS = [{"id": "a", "user_id": "u", "text": "fine", "created_at": "2026-01-01T00:00:00Z", "lang": "en"}]
PLAN = {"seed": 1, "faults": 2}


def test_one_seed_gives_the_same_faults_and_a_shorter_run_is_the_beginning_of_a_longer():
    assert draw(7, 50, hosts=2) == draw(7, 100, hosts=2)[:50]
    assert draw(7, 20, hosts=2) != draw(8, 20, hosts=2)


@pytest.mark.parametrize("seed", range(5))
def test_twenty_faults_are_one_of_every_kind_within_its_ranges(seed):
    faults = draw(seed, 20, hosts=2)

    assert Counter(fault.kind for fault in faults) == Counter(Kind)
    for fault in faults:
        least, most = HELD_S.get(fault.kind, (0, 0))
        assert least <= fault.held_s <= most
        assert 0 < fault.after < 1
        assert fault.host in (0, 1)
        assert bool(fault.step_s) == (fault.kind is Kind.CLOCK_STEP)


@pytest.mark.parametrize(
    ("events", "rounds", "expected"), [(10, 3, [4, 3, 3]), (20, 2, [10, 10]), (5, 5, [1] * 5)]
)
def test_the_events_are_shared_out_evenly(events, rounds, expected):
    assert shares(events, rounds) == expected


@pytest.mark.parametrize("number", range(20))
def test_a_round_publishes_each_of_its_events_and_marks_those_that_cannot_become_rows(number):
    fault = draw(3, 20, hosts=2)[number]

    round_ = round_of(fault, 200, TEXTS, seed=3)

    assert round_ == round_of(fault, 200, TEXTS, seed=3)
    assert round_.ids == {f"chaos-3-{number}-{place}" for place in range(200)}
    assert len({message.task_id for message in round_.messages}) == len(round_.messages)
    assert all(1 <= len(message.events) <= 256 for message in round_.messages)
    events = {event["id"]: event for message in round_.messages for event in message.events}
    marked = {id_ for id_, event in events.items() if TOKEN in event["text"]}
    assert round_.poison == marked
    assert len(marked) == {Kind.POISON_HANG: 1}.get(fault.kind, 2 if fault.kind in POISON else 0)
    assert round_.refused == {id_ for id_, event in events.items() if "mood" in event}
    times = Counter(id_ for message in round_.messages for id_ in message.ids)
    assert all(times[id_] == 1 for id_ in round_.poison | round_.refused)
    assert max(times.values()) <= 2


def test_some_messages_are_published_twice_as_by_a_publisher_that_was_unsure():
    rounds = [round_of(fault, 200, TEXTS, seed=3) for fault in draw(3, 20, hosts=2)]

    published = sum(len(message.events) for round_ in rounds for message in round_.messages)

    assert 4000 < published < 4800


FINE = [Found(id="a", rows=1, dead_letters=0), Found(id="b", rows=0, dead_letters=1)]


@pytest.mark.parametrize(
    ("one", "wrong"),
    [
        (Found(id="c", rows=0, dead_letters=0), "lost"),
        (Found(id="c", rows=2, dead_letters=0), "doubled"),
        (Found(id="c", rows=0, dead_letters=2), "doubled"),
        (Found(id="c", rows=1, dead_letters=1), "doubled"),
        (Found(id="c", rows=1, dead_letters=0, lacks_part=True), "partial"),
        (Found(id="c", rows=0, dead_letters=1, delivery_differs=True), "partial"),
    ],
)
def test_an_account_balances_only_if_every_event_ended_once_and_whole(one, wrong):
    assert settle(FINE, guilty={"b"}).balanced

    settled = settle([*FINE, one], guilty={"b"})

    assert not settled.balanced
    assert {name for name in ("lost", "doubled", "partial") if getattr(settled, name)} == {wrong}
    assert getattr(settled, wrong) == ("c",)


def test_the_innocent_that_were_parked_and_the_guilty_that_were_not_are_named():
    settled = settle(FINE, guilty={"a"})

    assert (settled.innocent, settled.spared) == (("b",), ("a",))
    assert (settled.accepted, settled.rows, settled.dead_letters) == (2, 1, 1)


def test_an_interrupted_run_goes_on_after_its_last_whole_round(tmp_path):
    first = Ledger(tmp_path, PLAN)
    assert not first.read()
    first.begin()
    first.add({"fault": {"number": 0}})
    first.add({"fault": {"number": 1}})
    with (tmp_path / FILE).open("a") as torn:
        torn.write('{"round": {"fau')

    again = Ledger(tmp_path, PLAN)

    assert again.read()
    assert again.rounds == [{"fault": {"number": 0}}, {"fault": {"number": 1}}]
    again.add({"fault": {"number": 2}})
    assert [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()][-1] == {
        "round": {"fault": {"number": 2}}
    }


def test_another_plan_does_not_go_on_with_it(tmp_path):
    Ledger(tmp_path, PLAN).begin()

    assert not Ledger(tmp_path, {**PLAN, "seed": 2}).read()


def test_recoveries_are_told_by_kind_and_one_that_never_came_is_not_hidden():
    rounds = [
        {"fault": {"kind": kind}, "recovery_s": seconds}
        for kind, seconds in [("worker-kill", 1.0), ("worker-kill", 3.0), ("worker-stop", None)]
    ]

    assert report.by_kind(rounds) == {
        "worker-kill": {"faults": 2, "median_s": 2.0, "most_s": 3.0},
        "worker-stop": {"faults": 1, "median_s": None, "most_s": None},
    }


@pytest.mark.parametrize(
    ("idle", "times"),
    [
        ([[0], [1], [0]], 0),
        ([[0], [0], [], [0]], 0),
        ([[0, 1], [0], [0], [0]], 1),
        ([[1], [1, 0], [0, 1], [0]], 2),
    ],
)
def test_a_worker_is_deaf_that_took_nothing_for_three_rounds_on_end(idle, times):
    assert report.deaf([{"idle_hosts": hosts} for hosts in idle]) == times


@pytest.fixture
def line():
    """A line to a server that echoes; its proxy."""
    server = socket.create_server(("127.0.0.1", 0))

    def echo(connection):
        with connection:
            try:
                while data := connection.recv(100):
                    connection.sendall(data)
            except OSError:  # reset
                return

    def serve():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:  # closed: the test is over
                return
            threading.Thread(target=echo, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    proxy = Proxy("test")
    proxy.target = server.getsockname()[1]
    proxy.start()
    yield proxy
    server.shutdown(socket.SHUT_RDWR)
    server.close()


def connected(proxy):
    client = socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    client.sendall(b"ping")
    assert client.recv(100) == b"ping"
    client.settimeout(0.2)
    return client


def test_a_cut_line_resets_its_connections_and_lets_none_in_until_it_is_mended(line):
    with connected(line) as client:
        line.cut()
        client.settimeout(5)
        with pytest.raises(ConnectionResetError):
            client.recv(100)
        with pytest.raises(ConnectionResetError):  # at once, or with the first byte
            connected(line)
    line.mend()
    connected(line).close()


def test_a_worker_hears_nothing_of_a_server_that_is_gone_until_the_line_is_mended(line):
    with connected(line) as client:
        assert line.lose("server") == 1
        client.sendall(b"into the void")
        with pytest.raises(TimeoutError):
            client.recv(100)
        connected(line).close()

        assert line.mend() == 1
        client.settimeout(5)
        with pytest.raises(ConnectionResetError):
            client.recv(100)


def test_a_worker_whose_end_is_lost_can_come_back_at_once(line):
    with connected(line) as client:
        assert line.lose("worker") == 1
        client.settimeout(5)
        with pytest.raises(ConnectionResetError):
            client.recv(100)
        connected(line).close()
        assert line.mend() == 1


@pytest.mark.root
@pytest.mark.skipif(not mountable(), reason="needs the right to mount")
def test_a_full_disk_refuses_every_byte_and_gives_the_data_back(tmp_path):
    (tmp_path / "data").mkdir(mode=0o711)
    (tmp_path / "data" / "kept").write_text("before")
    disk = Disk(tmp_path / "data", server="no-such-server")

    disk.shrink()
    try:
        disk.fill(os.getpid())
        with pytest.raises(OSError, match="No space left"):
            (tmp_path / "data" / "new").write_text("x")
        disk.free(os.getpid())
        (tmp_path / "data" / "kept").write_text("after")
    finally:
        disk.restore()

    assert not disk.small
    assert {path.name: path.read_text() for path in (tmp_path / "data").iterdir()} == {
        "kept": "after",
        "new": "",
    }
