-- Write one record that belongs to no project, if it is still as it was read, and the states of
-- KEKs are still those that it was sealed by.
--
-- KEYS  1 the hash  2 keyring  3 unrecorded; and where older ones of the record end with it:
--       4 endings
-- ARGV  1 the states of KEKs  2 field  3 before ('' there is none)  4 after
--       5 the name of what is to be recorded of it ('' nothing is)  6 its record
--       7 the last of the endings ('' there is none)  8 the entry that is to follow it
-- Returns 1, or 0 if somebody was faster

local is_end = #KEYS > 3
local refused = refusal(
  {'hash', 'hash', 'hash', is_end and 'list' or nil},
  {HSET = {1, 3}, HGET = {1, 2}, RPUSH = is_end and {4} or {}, LINDEX = is_end and {4} or {}})
if refused then return refused end

if redis.call('HGET', KEYS[2], 'states') ~= ARGV[1] then return 0 end
if (redis.call('HGET', KEYS[1], ARGV[2]) or '') ~= ARGV[3] then return 0 end
if is_end then
  if (redis.call('LINDEX', KEYS[4], -1) or '') ~= ARGV[7] then return 0 end
  redis.call('RPUSH', KEYS[4], ARGV[8])
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[4])
if ARGV[5] ~= '' then redis.call('HSET', KEYS[3], ARGV[5], ARGV[6]) end
return 1
