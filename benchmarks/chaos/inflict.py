"""How each kind of fault is done to the instance: prepared before the round, struck, and lifted.

The clock: no process can be given another wall clock without preloading a library, and the machine's is not
ours to set. What a step of all clocks does to times that are already stored is exactly what moving these
times the other way does: so the times of unfinished deliveries move, the broker's times of messages that are
held, and the expiry of its keys. Timers inside a running process are not tried.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

import psycopg
import redis
from psycopg import sql

from benchmarks.chaos import family
from benchmarks.chaos.fault import POISON, Fault, Kind
from benchmarks.chaos.instance import Instance
from worker.embedded.process import Process

Lift = Callable[[], str]
"""Takes a fault's cause away; what it has to say about it."""
STEPPED = ("accepted_at", "lease_until")
UNACKED = "unacked_index"
"""Sorted set: when each message that is not acknowledged was taken."""


def prepare(instance: Instance, fault: Fault) -> None:
    """Before anything of the round is published: a disk that is to fill up is made small."""
    if fault.kind is Kind.BROKER_DISK_FULL:
        instance.valkey.stop()
        instance.broker_disk.shrink()
        instance.start_broker()
    elif fault.kind is Kind.DATABASE_DISK_FULL:
        instance.postgres.stop()
        instance.database_disk.shrink()
        instance.start_database()


def restore(instance: Instance, fault: Fault) -> None:
    """After the round: the data go back to the large disk."""
    if fault.kind is Kind.BROKER_DISK_FULL and instance.broker_disk.small:
        instance.valkey.stop()
        instance.broker_disk.restore()
        instance.start_broker()
    elif fault.kind is Kind.DATABASE_DISK_FULL and instance.database_disk.small:
        instance.postgres.stop()
        instance.database_disk.restore()
        instance.start_database()


def strike(instance: Instance, fault: Fault) -> Lift:
    """Does it; what ends it."""
    host = instance.hosts[fault.host]
    match fault.kind:
        case Kind.WORKER_KILL:
            family.send(host.workers, signal.SIGKILL)
            return _nothing
        case Kind.WORKER_STOP:
            return _stopped(host.workers)
        case Kind.SUPERVISOR_KILL:
            host.kill()
            return _nothing
        case Kind.SUPERVISOR_STOP:
            # A paused machine: when it goes on, others may have its messages, and nobody killed its worker.
            return _stopped(
                [host.supervisor, *family.descendants(host.supervisor)] if host.supervisor else []
            )
        case Kind.BROKER_KILL:
            instance.broker.kill()
            return _then(instance.start_broker)
        case Kind.BROKER_RESTART:
            instance.valkey.stop()
            return _then(instance.start_broker)
        case Kind.BROKER_STOP:
            return _stopped(_server(instance.broker))
        case Kind.DATABASE_KILL:
            instance.database.kill()
            return _then(instance.start_database)
        case Kind.DATABASE_STOP:
            return _stopped(_server(instance.database))
        case Kind.POWER_CUT:
            return _power_cut(instance)
        case Kind.BROKER_DROPPED | Kind.DATABASE_DROPPED | Kind.BROKER_HALF_OPEN | Kind.DATABASE_HALF_OPEN:
            return _line(instance, fault)
        case Kind.BROKER_DISK_FULL:
            instance.broker_disk.fill(instance.broker.pid)
            return lambda: _room(instance, broker=True)
        case Kind.DATABASE_DISK_FULL:
            instance.database_disk.fill(instance.database.pid)
            return lambda: _room(instance, broker=False)
        case Kind.CLOCK_STEP:
            moved = _step(instance, fault.step_s)
            if fault.step_s < 0:  # alone it does nothing: somebody must wait for a time to come
                family.send(host.workers, signal.SIGKILL)
            return lambda: f"{moved} stored times moved"
        case _:
            assert fault.kind in POISON, fault.kind
            return _nothing  # the poison is in the messages


def _nothing() -> str:
    return ""


def _then(start: Callable[[], None]) -> Lift:
    def lift() -> str:
        start()
        return ""

    return lift


def _stopped(pids: list[int]) -> Lift:
    family.send(pids, signal.SIGSTOP)

    def lift() -> str:
        family.send(pids, signal.SIGCONT)
        return ""

    return lift


def _server(process: Process) -> list[int]:
    return [process.pid, *family.descendants(process.pid)]


def _power_cut(instance: Instance) -> Lift:
    instance.powered = False
    instance.broker.kill()
    instance.database.kill()
    for host in instance.hosts:
        host.kill()

    def lift() -> str:
        instance.start_database()
        instance.start_broker()
        instance.powered = True
        return ""

    return lift


def _line(instance: Instance, fault: Fault) -> Lift:
    broker = fault.kind in (Kind.BROKER_DROPPED, Kind.BROKER_HALF_OPEN)
    line = instance.broker_line if broker else instance.database_line
    if fault.kind in (Kind.BROKER_DROPPED, Kind.DATABASE_DROPPED):
        line.cut()
        return lambda: f"{line.mend() or ''}"
    lost = line.lose(fault.lost)

    def lift() -> str:
        return f"{lost} connections lost their {fault.lost}; {line.mend()} had not been given up"

    return lift


def _room(instance: Instance, *, broker: bool) -> str:
    disk, process = (
        (instance.broker_disk, instance.broker) if broker else (instance.database_disk, instance.database)
    )
    disk.free(process.pid)
    said = disk.how
    if process.ended is not None:
        (instance.start_broker if broker else instance.start_database)()
        said += "; the server had ended"
    return said


def _step(instance: Instance, step_s: float) -> int:
    """Moves stored times by `step_s` seconds the other way; how many there were."""
    moved = 0
    with psycopg.connect(instance.postgres.url, autocommit=True) as connection:
        for column in map(sql.Identifier, STEPPED):
            statement = sql.SQL(
                "UPDATE deliveries SET {0} = {0} - make_interval(secs => %s)"
                " WHERE {0} IS NOT NULL AND state = 'accepted'"
            ).format(column)
            moved += connection.execute(statement, (step_s,)).rowcount
    with redis.Redis.from_url(instance.valkey.url) as broker:
        for message in broker.zrange(UNACKED, 0, -1):
            # xx: one that was acknowledged meanwhile stays gone.
            moved += broker.zadd(UNACKED, {message: -step_s}, xx=True, incr=True) is not None
        for key in broker.scan_iter():
            if (left_ms := broker.pttl(key)) > 0:  # kept as a point in time: signs of life, for instance
                moved += bool(broker.pexpire(key, max(1, round(left_ms - 1000 * step_s))))
    return moved
