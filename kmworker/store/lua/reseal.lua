-- Have an entry of the clients' endings under another KEK, if it is still as it was read, and the
-- states of KEKs are still those that it was sealed by.
--
-- KEYS  1 endings  2 keyring
-- ARGV  1 the states of KEKs  2 its place in the list  3 before  4 after
-- Returns 1, or 0 if somebody was faster

local refused = refusal({'list', 'hash'}, {LSET = {1}, LINDEX = {1}, HGET = {2}})
if refused then return refused end

if redis.call('HGET', KEYS[2], 'states') ~= ARGV[1] then return 0 end
if redis.call('LINDEX', KEYS[1], ARGV[2]) ~= ARGV[3] then return 0 end
redis.call('LSET', KEYS[1], ARGV[2], ARGV[4])
return 1
