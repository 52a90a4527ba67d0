-- Write what becomes of KEKs, if it is still as it was read: of two key operators at once, one is
-- first, and the other looks again.
--
-- KEYS  1 keyring  2 unrecorded
-- ARGV  1 the states that it has  2 the name of what is to be recorded of it  3 its record
--       4 how many fields and values follow; after them those that go
-- Returns 1, or 0 if somebody was faster

local refused = refusal({'hash', 'hash'}, {HSET = {1, 2}, HGET = {1}, HDEL = {1}})
if refused then return refused end

if redis.call('HGET', KEYS[1], 'states') ~= ARGV[1] then return 0 end
local last = 4 + tonumber(ARGV[4])
redis.call('HSET', KEYS[1], unpack(ARGV, 5, last))
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
if #ARGV > last then redis.call('HDEL', KEYS[1], unpack(ARGV, last + 1)) end
return 1
