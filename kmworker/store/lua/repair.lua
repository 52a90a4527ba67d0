-- Put indexes and counters right: what follows from sealed records, and nothing else. Each
-- change is made only if what it was concluded from is still so; otherwise the workers have
-- moved on, and what was concluded is of the past.
--
-- KEYS  1 items  2 parked  3 lineage  4 holders  5 stats
--       6 waiting  7 waiting:deadlines  8 waiting:sources  9 waiting:shares
--       all of one project
-- ARGV  for each change seven values, '' where unused:
--   'L' '+'|'-' member ref record '' ''
--       put a member into the lineage, or take it out, if the item's record is this
--       ('' there is none)
--   'C' 'holders'|'stats'|'waiting:shares' field before after 'items'|'parked'|'' length
--       set a counter that reads `before` ('' absent; else '=' and its text) to `after` (0:
--       take it away), if the named hash has this many fields
--   'W' entry parked waiting deadline member ''
--       enter what is not '' into the waiting room's indexes, if this is parked
--   'S' entry parked member '' '' ''
--       take a member out of waiting:sources, if this is parked ('' nothing)
-- Returns for each change 1 if it was made, else 0

local refused = refusal(
  {'hash', 'hash', 'zset', 'hash', 'hash', 'hash', 'zset', 'zset', 'hash'},
  {HGET = {1, 2, 4, 5, 9}, HLEN = {1, 2}, HSET = {4, 5, 6, 9}, HDEL = {4, 5, 9},
   ZADD = {3, 7, 8}, ZREM = {3, 8}})
if refused then return refused end

local function is(key, field, record)
  return (redis.call('HGET', key, field) or '') == record
end

local function lineage(sign, member, ref, record)
  if not is(KEYS[1], ref, record) then return 0 end
  if sign == '+' then
    redis.call('ZADD', KEYS[3], 0, member)
  else
    redis.call('ZREM', KEYS[3], member)
  end
  return 1
end

local counters = {holders = KEYS[4], stats = KEYS[5], ['waiting:shares'] = KEYS[9]}
local function count(name, field, before, after, counted, length)
  local key = counters[name]
  local found = redis.call('HGET', key, field)
  if (found and '=' .. found or '') ~= before then return 0 end
  local hash = counted == 'items' and KEYS[1] or KEYS[2]
  if counted ~= '' and redis.call('HLEN', hash) ~= tonumber(length) then return 0 end
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

local change = {L = lineage, C = count, W = enter, S = leave}
local out = {}
for at = 1, #ARGV, 7 do
  out[#out + 1] = change[ARGV[at]](unpack(ARGV, at + 1, at + 6))
end
return out
