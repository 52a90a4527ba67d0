-- Write one record that belongs to no project, if it is still as it was read, and the states of
-- KEKs are still those that it was sealed by.
--
-- KEYS  1 the hash  2 keyring  3 unrecorded  4 revoked  5 endings
-- ARGV  1 the states of KEKs  2 field  3 before ('' there is none)  4 after
--       5 the name of what is to be recorded of it ('' nothing is)  6 its record
--       7 what key servers are to be told of it ('' nothing)
--       8 the last of the endings ('' there is none)  9 the entry that is to follow it, '' for none
-- Returns 1, or 0 if somebody was faster

-- Who rewraps it has nobody to tell, and ends nothing.
local written, chained = ARGV[7] ~= '' and {1, 3, 4} or {1, 3}, ARGV[9] ~= '' and {5} or {}
local refused = refusal(
  {'hash', 'hash', 'hash', 'hash', 'list'},
  {HSET = written, HGET = {1, 2}, RPUSH = chained, LINDEX = chained})
if refused then return refused end

if redis.call('HGET', KEYS[2], 'states') ~= ARGV[1] then return 0 end
if (redis.call('HGET', KEYS[1], ARGV[2]) or '') ~= ARGV[3] then return 0 end
if ARGV[9] ~= '' then
  if (redis.call('LINDEX', KEYS[5], -1) or '') ~= ARGV[8] then return 0 end
  redis.call('RPUSH', KEYS[5], ARGV[9])
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[4])
if ARGV[5] ~= '' then redis.call('HSET', KEYS[3], ARGV[5], ARGV[6]) end
if ARGV[7] ~= '' then redis.call('HSET', KEYS[4], ARGV[7], '') end
return 1
