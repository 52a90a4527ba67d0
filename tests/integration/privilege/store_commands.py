"""What each account of the store may run and what it may not, as Redis commands."""

from typing import Final

ITEMS, KEYS, SCOPES, LINEAGE = "km:{p}:items", "km:{p}:keys", "km:{p}:scopes", "km:{p}:lineage"
WAITING, DEADLINES, STATS = "km:{p}:waiting", "km:{p}:waiting:deadlines", "km:{p}:stats"
DEKS, PARKED, EXPIRED = "kmsecret:{p}:deks", "kmsecret:{p}:parked", "kmsecret:{p}:expired"
COMMITS, OUTBOX, DUE = "km:{p}:commits", "km:{p}:outbox", "km:{p}:keys:due"
PROJECTS, FEED, WORKER = "km:projects", "km:feed", "km:worker:host-1-abc"
GRANTS, CLIENTS, TRUST = "km:{p}:grants", "km:clients", "km:trust"
ENDINGS, OF_CLIENTS = "km:{p}:endings", "km:endings"
UNRECORDED, GRANTS_UNRECORDED = "km:unrecorded", "km:{p}:unrecorded"
ASKED, KEY_SERVER = "km:asked:abc", "km:keyserver:host-1-abc"
COPIES = "km:{p}:copies:abc", "km:copies:compute-17"

# As the contract opens them, by the commands that it names.
OPEN: Final = (
    *(f"{read} {key}" for key in (ITEMS, KEYS, SCOPES, "km:{p}:holders", STATS, WAITING)
      for read in ("HGET", "HMGET", "HLEN", "HSCAN")),
    f"ZRANGEBYLEX {LINEAGE} [a (b LIMIT 0 100",
    f"ZLEXCOUNT {LINEAGE} [a (b",
    f"ZRANGE {DEADLINES} 0 0 WITHSCORES",
    f"ZRANGEBYSCORE {DEADLINES} -inf 1 LIMIT 0 100",
    f"ZCOUNT {DEADLINES} -inf 1",
    f"ZCARD {DEADLINES}",
    f"SSCAN {PROJECTS} 0",
    f"SCARD {PROJECTS}",
    *(f"HGETALL {key}" for key in ("km:totals", "km:dead", "km:queues", "km:keyring", "km:layout",
                                  WORKER)),
    f"HGETALL {STATS}",
    f"TTL {WORKER}",
    "ZREVRANGE km:workers 0 99 WITHSCORES",
    *(f"{read} {stream}" for stream in ("km:minutes", FEED)
      for read in ("XRANGE", "XREVRANGE", "XLEN")),
    f"TYPE {ITEMS}",
    f"EXISTS {ITEMS}",
    "PING",
)  # fmt: skip

# Their cost grows with the store, and no argument of theirs must limit it.
UNLIMITED: Final = (
    *(f"{read} {key}" for key in (ITEMS, KEYS, SCOPES, WAITING)
      for read in ("HGETALL", "HKEYS", "HVALS")),
    f"HRANDFIELD {ITEMS} 1000",
    f"SMEMBERS {PROJECTS}",
    f"SRANDMEMBER {PROJECTS} 1000",
    f"SUNION {PROJECTS}",
    f"ZUNION 1 {LINEAGE}",
    f"ZRANDMEMBER {LINEAGE} 1000",
    f"SORT {LINEAGE}",
    f"SORT_RO {LINEAGE}",
    f"DUMP {ITEMS}",
    f"MEMORY USAGE {ITEMS}",
    "XREAD BLOCK 1000 STREAMS km:feed $",
    "KEYS *",
    "RANDOMKEY",
)  # fmt: skip

# It lists the names of all keys, whatever the account may read.
NAMES: Final = "SCAN 0"

WRITES: Final = (
    f"HSET {ITEMS} f v",
    f"HDEL {ITEMS} f",
    f"HINCRBY {STATS} create 1",
    f"SET {ITEMS} v",
    f"DEL {ITEMS}",
    f"UNLINK {ITEMS}",
    f"EXPIRE {ITEMS} 1",
    f"PERSIST {WORKER}",
    f"RENAME {ITEMS} km:other",
    f"COPY {ITEMS} km:other",
    f"RESTORE {ITEMS} 0 payload",
    f"SORT {LINEAGE} STORE km:other",
    f"GETDEL {ITEMS}",
    f"INCR {COMMITS}",
    f"ZADD {LINEAGE} 0 m",
    f"ZREM {LINEAGE} m",
    f"ZRANGESTORE km:other {LINEAGE} 0 -1",
    f"SADD {PROJECTS} p",
    f"SREM {PROJECTS} p",
    f"XADD {FEED} * f v",
    f"XTRIM {FEED} MAXLEN 0",
    f"XDEL {FEED} 1-1",
    f"XGROUP CREATE {FEED} g $",
)

CODE: Final = (
    f"EVAL return(1) 1 {ITEMS}",
    f"EVAL_RO return(1) 1 {ITEMS}",
    f"EVALSHA {'0' * 40} 1 {ITEMS}",
    f"EVALSHA_RO {'0' * 40} 1 {ITEMS}",
    f"FCALL f 1 {ITEMS}",
    f"FCALL_RO f 1 {ITEMS}",
    "SCRIPT LOAD return(1)",
)

SERVER: Final = (
    "ACL LIST",
    "ACL SETUSER dashboard +@all",
    "BGREWRITEAOF",
    "BGSAVE",
    # With them, a server remembers for a client what it has read, or sends it what others write.
    "CLIENT CACHING YES",
    "CLIENT GETREDIR",
    "CLIENT KILL ID 1",
    "CLIENT LIST",
    "CLIENT TRACKING ON",
    "CLIENT TRACKING ON BCAST",
    "CLIENT TRACKINGINFO",
    "CLIENT UNBLOCK 1",
    "CLIENT PAUSE 1",
    "CONFIG SET appendonly no",
    "CONFIG REWRITE",
    "DBSIZE",
    "FLUSHALL",
    "FLUSHDB",
    "FUNCTION LOAD x",
    "LATENCY LATEST",
    "MIGRATE 127.0.0.1 1 k 0 1",
    "MODULE LIST",
    "MONITOR",
    "PSUBSCRIBE *",
    "PSYNC ? -1",
    "PUBLISH c m",
    "REPLICAOF 127.0.0.1 1",
    "SAVE",
    "SCRIPT FLUSH",
    "SHUTDOWN NOSAVE",
    "SLOWLOG GET",
    "SUBSCRIBE c",
    "SWAPDB 0 1",
)

# What has ended stays written down.
SHORTENS: Final = tuple(
    f"{how} {key}{more}"
    for key in (ENDINGS, OF_CLIENTS)
    for how, more in (
        ("LPOP", ""), ("RPOP", ""), ("LTRIM", " 1 1"), ("LREM", " 0 v"), ("DEL", ""),
        ("LPUSH", " v"), ("LINSERT", " BEFORE v w"),
    )
)  # fmt: skip

ELSEWHERE: Final = ("HGET kmx:{p}:items f", "HGET other f", "HSET other f v", "TYPE kmsecrets:x")

SECRETS: Final = (
    *(
        f"{read} {key} f"
        for key in (DEKS, PARKED, EXPIRED)
        for read in ("HGET", "HMGET", "HEXISTS")
    ),
    *(f"{read} {key}" for key in (DEKS, PARKED, EXPIRED) for read in ("HLEN", "EXISTS", "TYPE")),
    f"HSCAN {DEKS} 0",
    f"HGETALL {DEKS}",
    f"HSTRLEN {DEKS} f",
)

DASHBOARD_MAY_NOT: Final = (
    *SECRETS, *WRITES, *UNLIMITED, *CODE, *SERVER, *ELSEWHERE, NAMES, "CONFIG GET *", "INFO",
)  # fmt: skip

KEY_OPERATOR_MAY: Final = (
    *OPEN,
    f"HGET {DEKS} scope",
    f"MGET {COMMITS}",
    f"HMGET {DEKS} scope",
    f"HSCAN {DEKS} 0",
    f"HSCAN {PARKED} 0",
    f"ZSCAN {LINEAGE} 0",
    f"ZMSCORE {LINEAGE} m",
    NAMES,
    "CONFIG GET appendonly",
    "INFO server",
    # What a change of a key's state takes.
    *(f"HSET {key} f v" for key in (KEYS, SCOPES, OUTBOX, "km:reconciled")),
    f"ZADD {DUE} 1 m",
    f"ZREM {DUE} m",
    "ZADD km:outboxes LT 1 p",
    f"INCR {COMMITS}",
    # Who is a client, and which trust list is handed out.
    f"HSET {CLIENTS} f v",
    "HSET km:revoked f v",
    f"HSET {TRUST} f v",
    f"HSCAN {CLIENTS} 0",
    f"HSET {UNRECORDED} f v",
    f"EVAL return(1) 4 {CLIENTS} km:keyring {UNRECORDED} km:revoked",
    *(it for key in (ENDINGS, OF_CLIENTS) for it in (f"LINDEX {key} -1", f"RPUSH {key} v")),
    # What a KEK's leak takes besides.
    "SET km:{p}:fence 1",
    f"EVAL return(1) 1 {KEYS}",
)
KEY_OPERATOR_MAY_NOT: Final = (
    *(it for it in WRITES if not it.startswith("INCR")), *UNLIMITED, *SERVER, *ELSEWHERE,
    *(it for it in CODE if not it.startswith(("EVAL ", "EVALSHA "))),
    *SHORTENS,
    f"LSET {ENDINGS} 0 v",
    f"EVAL return(1) 1 {DEKS}",
    f"EVAL return(1) 1 {LINEAGE}",
    *(
        f"HDEL {key} f"
        for key in (KEYS, SCOPES, OUTBOX, CLIENTS, TRUST, UNRECORDED, "km:revoked")
    ),
    f"HSET {GRANTS_UNRECORDED} f v",
    "HSET km:{p}:holders f v",
    f"HSET {GRANTS} f v",
    *(f"{write} {key} f" for key in (DEKS, PARKED) for write in ("HDEL", "DEL", "UNLINK")),
    f"HSET {DEKS} f v",
    f"HGETALL {DEKS}",
)  # fmt: skip

OPERATOR_MAY: Final = (
    *OPEN, f"HSET {WAITING} entry v", f"ZADD {DEADLINES} XX 1 entry", "ZADD km:due LT 1 p",
    "ZINCRBY km:due -1 p",
)  # fmt: skip
OPERATOR_MAY_NOT: Final = (
    *SECRETS, *WRITES, *UNLIMITED, *SERVER, *ELSEWHERE, NAMES,
    # What an expiry needs of one key, it does not need of the other.
    f"HSET {DEADLINES} f v",
    f"ZADD {WAITING} 1 m",
    *(f"{take} {key} f" for key in (WAITING, DEADLINES) for take in ("HDEL", "ZREM", "DEL")),
    f"HSET {PARKED} f v",
    f"HSET {EXPIRED} f v",
    "ZADD km:{p}:waiting:sources 0 m",
    f"EVAL return(1) 1 {ITEMS}",
    f"EVAL return(1) 1 {PARKED}",
    f"EVAL_RO return(1) 1 {WAITING}",
    f"FCALL f 1 {WAITING}",
    "SCRIPT LOAD return(1)",
    "CONFIG GET *",
    "INFO",
)  # fmt: skip

# The only one that may end a wrapped DEK, and it cannot read one.
JANITOR_MAY: Final = (
    f"MGET {COMMITS}",
    *(f"HSCAN {key} 0" for key in (ITEMS, KEYS)),
    f"HEXISTS {DEKS} f",
    *(f"HDEL {key} f" for key in (DEKS, ITEMS, KEYS, SCOPES)),
    f"ZREM {LINEAGE} m",
    f"EVAL return(1) 1 {DEKS}",
    "HGETALL km:layout",
    f"LINDEX {ENDINGS} -1",
    f"RPUSH {ENDINGS} v",
)
JANITOR_MAY_NOT: Final = (
    *SHORTENS,
    f"LSET {ENDINGS} 0 v",
    f"RPUSH {OF_CLIENTS} v",
    *UNLIMITED, *SERVER, *ELSEWHERE,
    *(f"{read} {DEKS} f" for read in ("HGET", "HMGET", "HSTRLEN")),
    f"HSCAN {DEKS} 0",
    f"HSET {DEKS} f v",
    *(f"{it} {key}" for key in (PARKED, EXPIRED) for it in ("HLEN", "TYPE")),
    *(f"{write} {key} f v" for key in (WAITING, "km:totals") for write in ("HSET", "HDEL")),
    f"HDEL {STATS} f",
    f"ZADD {LINEAGE} 0 m",
    *(f"{take} {key}" for key in (ITEMS, KEYS, SCOPES, LINEAGE, STATS, DEKS, PARKED, PROJECTS)
      for take in ("DEL", "UNLINK", "GETDEL", "PERSIST")),
    f"SREM {PROJECTS} p",
    f"RENAME {ITEMS} km:other",
    f"EVAL return(1) 1 {PARKED}",
    "EVAL return(1) 1 other",
    "SCRIPT LOAD return(1)",
    NAMES,
    "INFO",
)  # fmt: skip

# It reads wrapped DEKs, as the key operator and the rewrapper do, and changes nothing.
KEY_SERVER_MAY: Final = (
    *(f"HGET {key} f" for key in (ITEMS, KEYS, SCOPES, GRANTS, DEKS, TRUST)),
    f"HMGET {CLIENTS} a b",
    f"EVAL return(1) 5 {ITEMS} {KEYS} {SCOPES} {DEKS} {GRANTS}",
    *(it for key in (ENDINGS, OF_CLIENTS) for it in (f"LINDEX {key} -1", f"LRANGE {key} 0 9")),
    f"SET {ASKED} v NX EX 900",
    f"GET {ASKED}",
    f"HSET {KEY_SERVER} f v",
    f"EXPIRE {KEY_SERVER} 9",
    "ZADD km:keyservers 1 m",
    *(
        f"{command} {key} {rest}"
        for key in COPIES
        for command, rest in (
            ("ZADD", "1 m"),
            ("EXPIRE", "60"),
            ("ZREMRANGEBYSCORE", "-inf 0"),
            ("ZRANGEBYSCORE", "0 1 WITHSCORES"),
        )
    ),
    "HSCAN km:revoked 0",
    "HDEL km:revoked f",
    "HGETALL km:layout",
    "HGETALL km:keyring",
    "CONFIG GET appendonly",
)
KEY_SERVER_MAY_NOT: Final = (
    *SHORTENS,
    *(it for key in (ENDINGS, OF_CLIENTS) for it in (f"LSET {key} 0 v", f"RPUSH {key} v")),
    *(it for it in WRITES if not it.startswith("EXPIRE")), *UNLIMITED, *SERVER, *ELSEWHERE, NAMES,
    *(f"{write} {key} f v" for key in (
          GRANTS, CLIENTS, TRUST, DEKS, OUTBOX, UNRECORDED, GRANTS_UNRECORDED, "km:keyring",
      )
      for write in ("HSET", "HDEL")),
    *(f"{read} {DEKS} f" for read in ("HMGET", "HSTRLEN")),
    f"HSCAN {DEKS} 0",
    f"HGETALL {DEKS}",
    *(f"{it} {key} f" for key in (PARKED, EXPIRED) for it in ("HGET", "HEXISTS")),
    f"EVAL return(1) 1 {PARKED}",
    f"DEL {ASKED}",
    "HSET km:revoked f v",
    *(f"{write} {key}" for key in COPIES for write in ("DEL", "PERSIST")),
    f"ZADD {LINEAGE} 1 m",
    "SCRIPT LOAD return(1)",
    "INFO",
)  # fmt: skip

# What it may write, its own run shows; these change nothing here.
REPAIRER_MAY: Final = (
    f"MGET {COMMITS}",
    "MGET km:{p}:fence",
    *(f"HMGET {key} f" for key in (ITEMS, KEYS, SCOPES, DEKS, PARKED)),
    *(f"HSCAN {key} 0" for key in (ITEMS, KEYS, SCOPES, DEKS, PARKED, EXPIRED)),
    f"ZSCAN {LINEAGE} 0",
    f"ZREM {LINEAGE} m",
    f"HDEL {STATS} f",
    NAMES,
)  # fmt: skip
REPAIRER_MAY_NOT: Final = (
    *UNLIMITED, *SERVER, *ELSEWHERE,
    *(f"{write} {key} f v" for key in (ITEMS, KEYS, SCOPES, DEKS, PARKED, EXPIRED, "km:keyring")
      for write in ("HSET", "HDEL", "HINCRBY")),
    *(f"{take} {key}" for key in (ITEMS, KEYS, SCOPES, LINEAGE, STATS, DEKS, PARKED, PROJECTS)
      for take in ("DEL", "UNLINK", "GETDEL", "PERSIST")),
    f"HDEL {WAITING} f",
    f"ZREM {DEADLINES} m",
    f"SREM {PROJECTS} p",
    f"RENAME {LINEAGE} km:other",
    f"HGETALL {DEKS}",
    "EVAL return(1) 1 other",
    "SCRIPT LOAD return(1)",
    "CONFIG GET *",
)  # fmt: skip

# Who replaces records where they lie: what one may write, its own run shows; none takes anything
# away.
REPLACER_MAY: Final = (
    *(f"HMGET {key} f" for key in (ITEMS, KEYS, SCOPES, DEKS, PARKED)),
    *(f"HSCAN {key} 0" for key in (ITEMS, KEYS, SCOPES, DEKS, PARKED)),
    "HGETALL km:layout",
    "HGETALL km:keyring",
    NAMES,
)
REPLACER_MAY_NOT: Final = (
    *UNLIMITED, *SERVER, *ELSEWHERE,
    *(f"HSET {key} f v" for key in (STATS, WAITING, EXPIRED, "km:totals")),
    *(f"HDEL {key} f" for key in (ITEMS, KEYS, SCOPES, DEKS, PARKED, "km:keyring", "km:layout")),
    *(f"{take} {key}" for key in (ITEMS, KEYS, SCOPES, LINEAGE, DEKS, PARKED, PROJECTS, "km:layout")
      for take in ("DEL", "UNLINK", "GETDEL", "PERSIST")),
    f"SADD {PROJECTS} p",
    f"ZADD {LINEAGE} 0 m",
    f"RENAME {ITEMS} km:other",
    f"HGETALL {DEKS}",
    "EVAL return(1) 1 other",
    "SCRIPT LOAD return(1)",
    "CONFIG GET *",
)  # fmt: skip

REWRAPPER_MAY: Final = (
    *REPLACER_MAY,
    "MGET km:{p}:fence",
    # What it verifies first while a KEK is compromised.
    "INFO server",
    f"ZMSCORE {LINEAGE} m",
    f"ZSCAN {LINEAGE} 0",
    "HGETALL km:totals",
)
REWRAPPER_MAY_NOT: Final = (
    *REPLACER_MAY_NOT, *SHORTENS, "HSET km:keyring f v", f"SET {COMMITS} 1", f"RPUSH {ENDINGS} v",
)  # fmt: skip

# What it may do, its own run shows. It creates and amends, and takes away only what waits.
WORKER_MAY_NOT: Final = (
    *SHORTENS,
    f"LSET {ENDINGS} 0 v",
    f"RPUSH {OF_CLIENTS} v",
    f"SET {COMMITS} 1",
    f"DEL {COMMITS}",
    f"DECR {COMMITS}",
    f"MGET {ITEMS}",
    f"INCR {DEADLINES}",
    f"HGET {DEKS} scope",
    f"HMGET {DEKS} scope",
    f"HGETALL {DEKS}",
    f"HSCAN {DEKS} 0",
    f"HSTRLEN {DEKS} scope",
    *(f"HDEL {key} f" for key in (ITEMS, KEYS, SCOPES, "km:{p}:holders", DEKS, "km:keyring")),
    *(f"{take} {key}" for key in (ITEMS, KEYS, SCOPES, DEKS, PARKED, PROJECTS, "km:keyring")
      for take in ("DEL", "UNLINK", "PERSIST", "GETDEL")),
    *(f"EXPIRE {key} 0" for key in (ITEMS, DEKS, PROJECTS, "km:keyring")),
    *(f"SET {key} v" for key in (ITEMS, DEKS, PROJECTS)),
    f"RENAME {ITEMS} km:other",
    f"COPY {DEKS} km:other",
    f"RESTORE {ITEMS} 0 payload",
    f"DUMP {DEKS}",
    f"ZREMRANGEBYSCORE {LINEAGE} -inf +inf",
    f"SREM {PROJECTS} p",
    f"HGETALL {ITEMS}",
    f"SMEMBERS {PROJECTS}",
    "EVAL return(1) 1 other",
    f"EVAL_RO return(1) 1 {ITEMS}",
    "SCRIPT LOAD return(1)",
    f"FCALL f 1 {ITEMS}",
    "KEYS *",
    "SCAN 0",
    "INFO",
    *SERVER,
    *ELSEWHERE,
)  # fmt: skip

WANTED_BY_ARITY: Final = {
    "HGET": ["f"], "HMGET": ["f"], "HSCAN": ["0"], "ZSCAN": ["0"],
    "XRANGE": ["-", "+"], "XREVRANGE": ["+", "-"],
}  # fmt: skip
READERS_COMMANDS: Final = {command.split()[0].lower() for command in OPEN} | {
    "hexists", "time", "zrevrangebylex", "zrevrangebyscore",
}  # fmt: skip
"""HGETALL among them, where it is permitted at all."""


MAY: Final = {
    "dashboard": OPEN,
    "operator": OPERATOR_MAY,
    "key-operator": KEY_OPERATOR_MAY,
    "janitor": JANITOR_MAY,
    "keyserver": KEY_SERVER_MAY,
    "repairer": REPAIRER_MAY,
    "migrator": REPLACER_MAY,
    "rewrapper": REWRAPPER_MAY,
}
MAY_NOT: Final = {
    "dashboard": DASHBOARD_MAY_NOT,
    "operator": OPERATOR_MAY_NOT,
    "key-operator": KEY_OPERATOR_MAY_NOT,
    "janitor": JANITOR_MAY_NOT,
    "keyserver": KEY_SERVER_MAY_NOT,
    "repairer": REPAIRER_MAY_NOT,
    "migrator": REPLACER_MAY_NOT,
    "rewrapper": REWRAPPER_MAY_NOT,
    "worker": WORKER_MAY_NOT,
}
