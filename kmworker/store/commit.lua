-- Write one project's share of a batch: assign items, park events. Atomic, and
-- idempotent by effect: an item that has a record keeps it, whoever asks.
--
-- KEYS  1 items  2 keys  3 scopes  4 deks  5 lineage  6 holders  7 stats
--       8 waiting  9 waiting:deadlines  10 waiting:sources  11 parked
-- ARGV  1 most entries that may wait, then for each write one of
--   'A' ref record disposition scope_id key_id key_record scope_record dek source expected
--       assign; key_record, scope_record and dek are '' where nothing new is made;
--       source is '' or the ref whose state must still read `expected`
--   'P' entry source parked waiting deadline
--       park, if the source is still absent
-- Returns for each write {code, record, waits}:
--   0 written   1 was there before, with its record   2 stale: look up and plan again
--   3 its scope is there without it   4 parked   5 no room
--   waits is 1 if events wait for the item
--
-- Counters alone may fail after the first write (someone put text into one): they can be
-- recomputed, and pcall lets them be.

local WRITTEN, EXISTS, STALE, ORPHAN, PARKED, FULL = 0, 1, 2, 3, 4, 5
local items, keys, scopes, deks = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local refused = refusal(
  {'hash', 'hash', 'hash', 'hash', 'zset', 'hash', 'hash', 'hash', 'zset', 'zset', 'hash'},
  {HSET = {1, 2, 3, 4, 8, 11}, ZADD = {5, 9, 10}, HINCRBY = {6, 7}, ZRANGEBYLEX = {10}})
if refused then return refused end

-- What a decision rested on, as one string; a rewrap changes none of it.
local function state_of(ref)
  local item = redis.call('HGET', items, ref)
  if not item then return 'absent' end
  local key_id = string.match(item, '"key_id":"([^"]+)"')
  local scope_id = string.match(item, '"scope_id":"([^"]+)"')
  if not key_id or not scope_id then return 'none' end
  local key = redis.call('HGET', keys, key_id)
  local scope = redis.call('HGET', scopes, scope_id)
  if not key or not scope or redis.call('HEXISTS', deks, scope_id) == 0 then return 'broken' end
  return table.concat({
    key_id, scope_id,
    string.match(key, '"state":"([^"]*)"') or '',
    string.match(scope, '"dek_id":"([^"]*)"') or '',
    string.match(scope, '"cipher":"(.-)","key_bits"') or '',
    string.match(scope, '"key_bits":(%d+)') or '',
  }, ' ')
end

local function waits(ref)
  return #redis.call('ZRANGEBYLEX', KEYS[10], '[' .. ref .. ' ', '(' .. ref .. '!', 'LIMIT', 0, 1)
end

local function assign(at)
  local ref, record, disposition, scope_id = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local key_id, key_record = ARGV[at + 4], ARGV[at + 5]
  local scope_record, dek = ARGV[at + 6], ARGV[at + 7]
  local source, expected = ARGV[at + 8], ARGV[at + 9]
  local before = redis.call('HGET', items, ref)
  if before then return {EXISTS, before, waits(ref)} end
  if source ~= '' and state_of(source) ~= expected then return {STALE, false, 0} end
  if scope_record ~= '' then
    -- Its root is gone but its DEK encrypts data: minting over it would lose that data.
    if redis.call('HEXISTS', scopes, scope_id) == 1 or redis.call('HEXISTS', deks, scope_id) == 1 then
      return {ORPHAN, false, 0}
    end
    redis.call('HSET', deks, scope_id, dek)
    redis.call('HSET', scopes, scope_id, scope_record)
  end
  if key_record ~= '' then redis.call('HSET', keys, key_id, key_record) end
  if scope_id ~= '' then redis.call('ZADD', KEYS[5], 0, scope_id .. ' ' .. ref) end
  redis.call('HSET', items, ref, record)
  if key_id ~= '' then redis.pcall('HINCRBY', KEYS[6], key_id, 1) end
  redis.pcall('HINCRBY', KEYS[7], disposition, 1)
  return {WRITTEN, false, waits(ref)}
end

local function park(at)
  local entry, source, parked = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local waiting, deadline = ARGV[at + 3], ARGV[at + 4]
  if redis.call('HEXISTS', items, source) == 1 then return {STALE, false, 0} end
  -- Set once: a repeat neither extends the deadline nor counts twice.
  if redis.call('HEXISTS', KEYS[11], entry) == 1 then return {PARKED, false, 0} end
  if redis.call('HLEN', KEYS[11]) >= tonumber(ARGV[1]) then return {FULL, false, 0} end
  redis.call('HSET', KEYS[11], entry, parked)
  redis.call('HSET', KEYS[8], entry, waiting)
  redis.call('ZADD', KEYS[10], 0, source .. ' ' .. entry)
  redis.call('ZADD', KEYS[9], deadline, entry)
  redis.pcall('HINCRBY', KEYS[7], 'waiting', 1)
  return {PARKED, false, 0}
end

local out, at = {}, 2
while at <= #ARGV do
  if ARGV[at] == 'A' then
    out[#out + 1] = assign(at + 1)
    at = at + 11
  else
    out[#out + 1] = park(at + 1)
    at = at + 6
  end
end
return out
