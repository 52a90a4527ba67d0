-- Put indexes and counters right: what follows from sealed records, and nothing else. Each
-- change is made only if what it was concluded from is still so; otherwise the workers have
-- moved on, and what was concluded is of the past.
--
-- KEYS  1 items  2 parked  3 lineage  4 holders  5 stats
--       6 waiting  7 waiting:deadlines  8 waiting:sources  9 waiting:shares
--       10 keys  11 keys:due  12 tombstones  13 clones
--       all of one project
-- ARGV  for each change seven values, '' where unused:
--   'I' 'lineage'|'tombstones'|'keys:due' member name record score ''
--       put a member into an index with this score, or take it out (''), if the record of this
--       name, an item's or in the last one a key-id's, is this ('' there is none)
--   'C' 'holders'|'stats'|'clones'|'waiting:shares' field before after
--       'items'|'keys'|'parked'|'' length
--       set a counter that reads `before` ('' absent; else '=' and its text) to `after` (0:
--       take it away), if the named hash has this many fields
--   'W' entry parked waiting deadline member ''
--       enter what is not '' into the waiting room's indexes, if this is parked
--   'S' entry parked member '' '' ''
--       take a member out of waiting:sources, if this is parked ('' nothing)
-- Returns for each change 1 if it was made, else 0

local refused = refusal(
  {'hash', 'hash', 'zset', 'hash', 'hash', 'hash', 'zset', 'zset', 'hash', 'hash', 'zset', 'zset',
   'hash'},
  {HGET = {1, 2, 4, 5, 9, 10, 13}, HLEN = {1, 2, 10}, HSET = {4, 5, 6, 9, 13},
   HDEL = {4, 5, 9, 13}, ZADD = {3, 7, 8, 11, 12}, ZREM = {3, 8, 11, 12}})
if refused then return refused end

local function is(key, field, record)
  return (redis.call('HGET', key, field) or '') == record
end

local indexes = {
  lineage = {KEYS[3], KEYS[1]}, tombstones = {KEYS[12], KEYS[1]},
  ['keys:due'] = {KEYS[11], KEYS[10]},
}
local function index(name, member, field, record, score)
  local key, records = unpack(indexes[name])
  if not is(records, field, record) then return 0 end
  if score == '' then
    redis.call('ZREM', key, member)
  else
    redis.call('ZADD', key, score, member)
  end
  return 1
end

local counters = {
  holders = KEYS[4], stats = KEYS[5], clones = KEYS[13], ['waiting:shares'] = KEYS[9],
}
local hashes = {items = KEYS[1], keys = KEYS[10], parked = KEYS[2]}
local function count(name, field, before, after, counted, length)
  local key = counters[name]
  local found = redis.call('HGET', key, field)
  if (found and '=' .. found or '') ~= before then return 0 end
  if counted ~= '' and redis.call('HLEN', hashes[counted]) ~= tonumber(length) then return 0 end
  if after == '0' then
    redis.call('HDEL', key, field)
  else
    redis.call('HSET', key, field, after)
  end
  return 1
end

local function enter(entry, parked, waiting, deadline, member)
  if not is(KEYS[2], entry, parked) then return 0 end
  if waiting ~= '' then redis.call('HSET', KEYS[6], entry, waiting) end
  if deadline ~= '' then redis.call('ZADD', KEYS[7], deadline, entry) end
  if member ~= '' then redis.call('ZADD', KEYS[8], 0, member) end
  return 1
end

local function leave(entry, parked, member)
  if not is(KEYS[2], entry, parked) then return 0 end
  redis.call('ZREM', KEYS[8], member)
  return 1
end

local change = {I = index, C = count, W = enter, S = leave}
local out = {}
for at = 1, #ARGV, 7 do
  out[#out + 1] = change[ARGV[at]](unpack(ARGV, at + 1, at + 6))
end
return out
