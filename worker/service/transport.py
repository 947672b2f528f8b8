"""The wire under Celery: how entries of the Redis lists become messages a worker holds.

kombu pops an entry and records it as held in two steps, and a worker killed between them loses it. Here one
script does both, for as many entries as the worker has room for. Each consumer keeps a key alive: what a
consumer holds whose key is gone goes back to its list, and what a living one holds stays with it however
long it takes. What is on a list but is no message of Celery's becomes one that can be parked; and what lost
consumers held too often is handed over unread (`worker.service.suspects`).
"""

from __future__ import annotations

import base64
import json
import socket
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from queue import Empty
from time import monotonic, time
from typing import Any

from kombu.entity import Exchange, Queue
from kombu.transport import TRANSPORT_ALIASES, redis, virtual
from redis.exceptions import OutOfMemoryError

from worker.events.message import BULK, LIVE
from worker.service.queues import WORKER

CONSUMER_TTL_S = 16
"""A consumer that has not been heard of for this long is dead. Its sign of life is every restore interval."""
FETCH_MOST = 256
"""Entries taken at once where the prefetch has no limit."""
IDLE_WAIT_S = 0.1
"""What an idle worker waits for the first list before it looks at the others."""

PATIENCE: Mapping[str, Any] = {
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    # A broker that vanished without a word is given up after 20 s; the kernel's own patience is hours.
    "socket_keepalive_options": {
        socket.TCP_KEEPIDLE: 10,
        socket.TCP_KEEPINTVL: 5,
        socket.TCP_KEEPCNT: 3,
        socket.TCP_USER_TIMEOUT: 20_000,
    },
    "health_check_interval": 25,
}
"""Transport options of every application of ours."""

LOST, LOST_S = "feltsense.lost", 86_400
"""Of an entry, by its SHA-1, how many consumers died that held it."""
TRUSTED = 1
"""So many may have died with an entry in hand, and it is still read as any other."""

_ENCODINGS = (None, "base64", "utf-8")
_OWNED = "consumer:"
"""How tags begin that name the consumer holding them; kombu's own are bare UUIDs."""

_FETCH = """
local taken, room = {}, tonumber(ARGV[1])
local suspicious = redis.call('EXISTS', 'feltsense.lost') == 1
for i = 4, #KEYS do
  local most = math.min(room, tonumber(ARGV[i + 2]))
  local entries = most > 0 and redis.call('RPOP', KEYS[i], most) or {}
  for _, entry in ipairs(entries) do
    local tag = string.format('%s%012d', ARGV[3], ARGV[4] + #taken / 4)
    redis.call('HSET', KEYS[1], tag, '[' .. entry .. ',"",' .. cjson.encode(KEYS[i]) .. ']')
    redis.call('ZADD', KEYS[2], ARGV[2], tag)
    local lost = suspicious and redis.call('HGET', 'feltsense.lost', redis.sha1hex(entry)) or 0
    for _, part in ipairs({KEYS[i], tag, entry, tonumber(lost)}) do taken[#taken + 1] = part end
  end
  room = room - #entries
  if #entries > 0 then redis.call('INCRBY', 'feltsense.taken:' .. KEYS[i], #entries) end
end
if #taken > 0 then redis.call('SET', KEYS[3], 'worker', 'EX', ARGV[5]) end
return taken
"""
"""Moves entries from the lists, in their order, to what is held. The value is what kombu would have stored,
if the entry is JSON. The pops come first: a full server refuses a script's first write if it needs memory.
How many were ever taken from a list tells an onlooker how long its oldest entry waits
(`worker.service.queues`)."""

_GIVE_BACK = """
local function give_back(tag, push)
  local held = redis.call('HGET', KEYS[1], tag)
  local entry, list = string.match(held or '', '^%[(.*),"",("[^"]*")%]$')
  if not entry then return 0 end
  redis.call('ZREM', KEYS[2], tag)
  redis.call('HDEL', KEYS[1], tag)
  list = cjson.decode('[' .. list .. ']')[1]
  if push == 'RPUSH' then redis.call('DECR', 'feltsense.taken:' .. list) end
  return redis.call(push, list, entry)
end
"""

_ACKNOWLEDGE = "return redis.call('ZREM', KEYS[2], ARGV[1]) + redis.call('HDEL', KEYS[1], ARGV[1])"

_RESTORE_ONE = _GIVE_BACK + "return give_back(ARGV[1], ARGV[2])"

_RESTORE_DEAD = (
    _GIVE_BACK
    + """
if redis.call('EXPIRE', KEYS[3], ARGV[3]) == 0 then redis.pcall('SET', KEYS[3], ARGV[4], 'EX', ARGV[3]) end
local foreign, tags = {}, redis.call('ZREVRANGE', KEYS[2], 0, -1, 'WITHSCORES')
for i = 1, #tags, 2 do
  local owner = string.match(tags[i], '^(consumer:.*)/')
  if owner then
    if redis.call('EXISTS', ARGV[2] .. owner) == 0 then
      local entry = string.match(redis.call('HGET', KEYS[1], tags[i]) or '', '^%[(.*),"","[^"]*"%]$')
      if give_back(tags[i], 'RPUSH') ~= 0 and entry then
        redis.pcall('HINCRBY', KEYS[4], redis.sha1hex(entry), 1)
        redis.pcall('EXPIRE', KEYS[4], ARGV[5])
      end
    end
  elseif tonumber(tags[i + 1]) < tonumber(ARGV[1]) then
    foreign[#foreign + 1] = tags[i]
  end
end
return foreign
"""
)
"""First a sign of life of its own, which a full server may refuse once the last one is too old. Then newest
first, so that the oldest ends at the front of its list, each with one more consumer lost to it. Answers what
another kind of worker held too long."""


class QoS(redis.QoS):
    """kombu's record of what this consumer holds, over scripts that lose nothing in between."""

    def append(self, message: virtual.Message, delivery_tag: str) -> None:
        if delivery_tag in self._delivered:  # the fetch recorded it
            virtual.QoS.append(self, message, delivery_tag)  # type: ignore[no-untyped-call]
        else:
            super().append(message, delivery_tag)  # type: ignore[no-untyped-call]

    def ack(self, delivery_tag: str) -> None:
        """In one answer and over one client; kombu makes a client and a transaction of each."""
        self._client.eval(_ACKNOWLEDGE, 2, *self._held, delivery_tag)
        virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]

    def restore_unacked(self, client: Any = None) -> None:
        if self.channel.connection.client is None:
            # The connection was lost and let go of before its channel, which can reach no broker any more.
            # What it holds comes back when its key runs out.
            self._delivered.clear()
            return
        with self.channel.conn_or_acquire(client) as client:
            for tag in reversed(self._delivered):
                self.restore_by_tag(tag, client)
        self._delivered.clear()

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:
        push = "LPUSH" if leftmost else "RPUSH"
        with self.channel.conn_or_acquire(client) as client:
            if not client.eval(_RESTORE_ONE, 2, *self._held, tag, push) and not tag.startswith(_OWNED):
                super().restore_by_tag(tag, client, leftmost)  # type: ignore[no-untyped-call]

    def restore_visible(self, *_: Any, **__: Any) -> None:
        """Gives a sign of life, and gives back what dead consumers hold."""
        channel = self.channel
        with channel.conn_or_acquire() as client:
            keys = (*self._held, channel.alive_key, LOST)
            prefix = channel.alive_key.removesuffix(channel.consumer)
            oldest = time() - self.visibility_timeout
            kind = "" if {LIVE, BULK}.isdisjoint(channel.active_queues) else WORKER
            given = (oldest, prefix, channel.consumer_ttl, kind, LOST_S)
            for tag in client.eval(_RESTORE_DEAD, len(keys), *keys, *given):
                super().restore_by_tag(tag.decode(), client)  # type: ignore[no-untyped-call]
        if channel.sign is not None:
            channel.sign()

    @cached_property
    def _client(self) -> Any:
        return self.channel._create_client()

    @property
    def _held(self) -> tuple[str, str]:
        return self.unacked_key, self.unacked_index_key


class Channel(redis.Channel):
    """kombu's Redis channel, whose consumer takes and records in one step."""

    QoS = QoS
    consumer_ttl = CONSUMER_TTL_S
    sign: Callable[[], None] | None = None
    most_held: Mapping[str, int] = {}
    _in_poll: Any
    _brpop_sent_at: Any
    from_transport_options: tuple[str, ...] = (  # type: ignore[assignment]  # kombu counts them in the type
        *redis.Channel.from_transport_options,
        "consumer_ttl",
        "most_held",
        "sign",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.consumer = f"{_OWNED}{uuid.uuid4().hex}"
        self._fetched = 0
        self._room = 0
        self._asked: str | None = None
        self._emptied: str | None = None
        self._unrecorded: set[str] = set()
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]

    @property
    def alive_key(self) -> str:
        return f"feltsense.{self.consumer}"

    def _queue_bind(self, *args: Any, **kwargs: Any) -> None:
        # Publishers route by what this records. A full server refuses it; whoever filled it has recorded it.
        with suppress(OutOfMemoryError):
            super()._queue_bind(*args, **kwargs)  # type: ignore[no-untyped-call]

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:
        if no_ack:
            self._unrecorded.add(queue)
        return super().basic_consume(queue, no_ack, *args, **kwargs)  # type: ignore[no-untyped-call]

    def _brpop_start(self, timeout: float | None = None) -> None:
        if not self._unrecorded.isdisjoint(self.active_queues):
            super()._brpop_start(timeout)  # type: ignore[no-untyped-call]
        elif lists := self._lists():
            if self._emptied == lists[0]:
                self._emptied = None
                self._await(lists[0])
                return
            room = self.qos.can_consume_max_estimate()
            room = FETCH_MOST if room is None else room
            self._room = room
            rooms = {queue: self._room_for(queue, room) for queue in self.active_queues}
            keys = (*self.qos._held, self.alive_key, *lists)
            self._ask(
                "EVAL", _FETCH, len(keys), *keys,
                room, time(), f"{self.consumer}/", self._fetched, self.consumer_ttl,
                *(rooms[self._queue_of(one)] for one in lists),
            )  # fmt: skip

    def _lists(self) -> list[str]:
        queues = self._queue_cycle.consume(len(self.active_queues))
        return [
            self._q_for_pri(queue, step)  # type: ignore[no-untyped-call]
            for queue in queues
            for step in self.priority_steps
        ]

    def _room_for(self, queue: str, room: int) -> int:
        """How many more entries of a queue may be held, where `most_held` limits it."""
        if queue not in self.most_held:
            return room
        acknowledged: set[str] = self.qos._dirty
        held: int = sum(
            message is not None and message.delivery_info["routing_key"] == queue and tag not in acknowledged
            for tag, message in self.qos._delivered.items()
        )
        return max(0, min(room, int(self.most_held[queue]) - held))

    def _queue_of(self, source: str) -> str:
        return source.rsplit(self.sep, 1)[0]

    def _await(self, first: str) -> None:
        # Moves an entry to where it is: the one way to be woken by a list and take nothing from it.
        self._ask("BLMOVE", first, first, "RIGHT", "RIGHT", IDLE_WAIT_S)

    def _ask(self, command: str, *args: Any) -> None:
        connection = self.client.connection
        self._asked = command
        self._in_poll, self._brpop_sent_at = connection, monotonic()
        connection.send_command(command, *args)

    def _brpop_read(self, **options: Any) -> bool:
        if self._asked is None:
            return bool(super()._brpop_read(**options))  # type: ignore[no-untyped-call]
        asked, self._asked = self._asked, None
        full = False
        try:
            try:
                answer = self.client.parse_response(self.client.connection, asked, **options)
            except self.connection_errors:
                self.client.connection.disconnect()
                raise
            except OutOfMemoryError:
                answer, full = None, True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()  # type: ignore[no-untyped-call]
        if asked == "EVAL" and answer:
            self._deliver(answer)
            return True
        if asked == "EVAL" and not self._closing and (lists := self._lists()):
            self._await(lists[0])
        elif full and not self._closing:
            # A full server refuses that, and only acknowledging makes room: wait for what never comes.
            self._ask("BRPOP", f"{self.alive_key}.never", IDLE_WAIT_S)
        raise Empty

    def _deliver(self, answer: list[Any]) -> None:
        """Hands over a fetch (list, tag, entry, consumers lost to it, list, ...), all of it held before any
        of it is looked at."""
        taken = list(zip(*[iter(answer)] * 4, strict=True))
        self._fetched += len(taken)
        sources = {source for source, *_ in taken}
        # Room was left, so this list is empty now; that others have more, which may wait, is not known.
        self._emptied = sources.pop().decode() if len(sources) == 1 and len(taken) < self._room else None
        for _, tag, *_ in taken:
            self.qos._delivered[tag.decode()] = None
        if self._closing:  # what is held goes back
            return
        for source, tag, entry, lost in taken:
            queue = self._queue_of(source.decode())
            suspect = lost > TRUSTED and queue in (LIVE, BULK)
            message = json.loads(_wrapped(entry) if suspect else readable(entry))
            message["properties"]["delivery_tag"] = tag.decode()
            message["properties"]["delivery_info"]["suspect"] = suspect
            self.connection._deliver(message, queue)


class Transport(redis.Transport):
    """kombu's Redis transport on that channel."""

    Channel = Channel


def install() -> None:
    """Makes redis:// and rediss:// URLs of this process use it: a URL's scheme outweighs Celery's own
    setting."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"


def queue(name: str) -> Queue:
    """A queue as a bare client's `send_task(queue=name)` declares it."""
    return Queue(name, Exchange(name), routing_key=name)  # type: ignore[no-untyped-call]


def readable(entry: bytes) -> bytes:
    """`entry` itself if kombu can read it, else a message without headers whose body it is."""
    try:
        message = json.loads(entry)
        properties = message["properties"]
        delivery = properties["delivery_info"]
        sound = (
            isinstance(properties["delivery_tag"], str)
            and isinstance(delivery["routing_key"], str)
            and isinstance(delivery["exchange"], str)
            and isinstance(message.get("headers"), dict)
            and isinstance(message["body"], str)
            and properties.get("body_encoding") in _ENCODINGS
        )
        if sound and properties.get("body_encoding") == "base64":
            base64.b64decode(message["body"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound = False
    return entry if sound else _wrapped(entry)


def _wrapped(entry: bytes) -> bytes:
    message = {
        "body": base64.b64encode(entry).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {},
        "properties": {
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
            "delivery_info": {"exchange": "", "routing_key": ""},
        },
    }
    return json.dumps(message).encode()
