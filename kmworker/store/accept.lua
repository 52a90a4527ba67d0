-- Go on with a store that went back in time, by the incident's name: count from the newest
-- number that anyone has seen.
--
-- KEYS  1 commits
-- ARGV  1 the incident  2 a number of commits that was seen
-- Returns 1, or 0 if that is not the incident

local refused = refusal({'hash'}, {HSET = {1}, HDEL = {1}})
if refused then return refused end

if redis.call('HGET', KEYS[1], 'incident') ~= ARGV[1] then return 0 end
local number = tonumber(redis.call('HGET', KEYS[1], 'number')) or 0
-- One more than either, so that it is nobody's past.
redis.call('HSET', KEYS[1], 'number', string.format('%d', math.max(number, tonumber(ARGV[2])) + 1))
redis.call('HSET', KEYS[1], 'accepted', ARGV[1])
redis.call('HDEL', KEYS[1], 'incident')
return 1
