-- Write one record that belongs to no project, if it is still as it was read, and the states of
-- KEKs are still those that it was sealed by.
--
-- KEYS  1 the hash  2 keyring  3 unrecorded  4 revoked
-- ARGV  1 the states of KEKs  2 field  3 before ('' there is none)  4 after
--       5 the name of what is to be recorded of it ('' nothing is)  6 its record
--       7 what key servers are to be told of it ('' nothing)
-- Returns 1, or 0 if somebody was faster

-- Who rewraps it has nobody to tell.
local written = ARGV[7] ~= '' and {1, 3, 4} or {1, 3}
local refused = refusal({'hash', 'hash', 'hash', 'hash'}, {HSET = written, HGET = {1, 2}})
if refused then return refused end

if redis.call('HGET', KEYS[2], 'states') ~= ARGV[1] then return 0 end
if (redis.call('HGET', KEYS[1], ARGV[2]) or '') ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[4])
if ARGV[5] ~= '' then redis.call('HSET', KEYS[3], ARGV[5], ARGV[6]) end
if ARGV[7] ~= '' then redis.call('HSET', KEYS[4], ARGV[7], '') end
return 1
