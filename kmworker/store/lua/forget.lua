-- Forget what is gone: tombstones, and with the last of them the records of their scope, whose
-- DEK is destroyed. Only what is still as it was read, and nothing that events wait for.
--
-- KEYS  1 items  2 keys  3 scopes  4 deks  5 lineage  6 stats  7 keys:due  8 tombstones
--       9 waiting:sources  10 commits  11 grants
-- ARGV  1 scope_id, '' for tombstones without one  2 the scope's record, '' if that stays
--       3 how many tombstones, then for each: ref record counter
--       (of stats; its record is one less, or one more that is gone: see below)
--       then for each key-id of the scope: key_id record
-- Returns how many tombstones were forgotten; all records of the scope go together or stay

local refused = refusal(
  {'hash', 'hash', 'hash', 'hash', 'zset', 'hash', 'zset', 'zset', 'zset', 'string', 'hash'},
  {HGET = {1, 2, 3}, HEXISTS = {4}, HDEL = {1, 2, 3, 11}, ZREM = {5, 7, 8}, HINCRBY = {6},
   ZRANGEBYLEX = {9}, INCR = {10}})
if refused then return refused end

local scope_id, scope = ARGV[1], ARGV[2]
local last = 3 + 3 * tonumber(ARGV[3])

local function is_in(from, to)
  return #redis.call('ZRANGEBYLEX', KEYS[9], '[' .. from, '(' .. to, 'LIMIT', 0, 1) == 1
end
local function may_go(ref, record)
  return redis.call('HGET', KEYS[1], ref) == record
    and not (is_in(ref .. ' ', ref .. '!') or is_in(ref .. '{', ref .. '|'))
end

-- The scope goes with its root, or a creation of the root would find it there without.
if scope ~= '' then
  if redis.call('HGET', KEYS[3], scope_id) ~= scope then return 0 end
  if redis.call('HEXISTS', KEYS[4], scope_id) == 1 then return 0 end
  for at = 4, last, 3 do if not may_go(ARGV[at], ARGV[at + 1]) then return 0 end end
  for at = last + 1, #ARGV, 2 do
    if redis.call('HGET', KEYS[2], ARGV[at]) ~= ARGV[at + 1] then return 0 end
  end
end

local forgotten = 0
for at = 4, last, 3 do
  local ref = ARGV[at]
  if may_go(ref, ARGV[at + 1]) then
    redis.call('HDEL', KEYS[1], ref)
    redis.call('HDEL', KEYS[11], ref)
    redis.call('ZREM', KEYS[8], ref)
    if scope_id ~= '' then redis.call('ZREM', KEYS[5], scope_id .. ' ' .. ref) end
    redis.pcall('HINCRBY', KEYS[6], ARGV[at + 2], ARGV[at + 2] == 'early' and -1 or 1)
    forgotten = forgotten + 1
  end
end
if scope ~= '' then
  redis.call('HDEL', KEYS[3], scope_id)
  for at = last + 1, #ARGV, 2 do
    redis.call('HDEL', KEYS[2], ARGV[at])
    redis.call('ZREM', KEYS[7], ARGV[at])
  end
end
if forgotten > 0 or scope ~= '' then redis.call('INCR', KEYS[10]) end
return forgotten
