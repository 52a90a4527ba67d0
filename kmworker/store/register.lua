-- Write whose store this is, if nobody has: all of it or nothing, or two first workers
-- with two keyrings would both be in it, and both be refused from then on.
--
-- KEYS  1 keyring
-- ARGV  fields and values

local refused = refusal({'hash'}, {HSET = {1}})
if refused then return refused end

if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
return redis.call('HSET', KEYS[1], unpack(ARGV))
