-- Let entries leave the waiting room: their outcome is confirmed by the broker.
--
-- KEYS  1 waiting  2 waiting:deadlines  3 waiting:sources  4 parked  5 expired  6 stats
-- ARGV  pairs of entry, source ref
-- Returns how many were there

local refused = refusal(
  {'hash', 'zset', 'zset', 'hash', 'hash', 'hash'},
  {HDEL = {1, 4, 5}, ZREM = {2, 3}, HINCRBY = {6}})
if refused then return refused end

local removed = 0
for i = 1, #ARGV, 2 do
  local entry, source = ARGV[i], ARGV[i + 1]
  local there = redis.call('ZREM', KEYS[3], source .. ' ' .. entry)
  redis.call('HDEL', KEYS[1], entry)
  redis.call('ZREM', KEYS[2], entry)
  redis.call('HDEL', KEYS[4], entry)
  redis.call('HDEL', KEYS[5], entry)
  removed = removed + there
end
if removed > 0 then redis.pcall('HINCRBY', KEYS[6], 'waiting', -removed) end
return removed
