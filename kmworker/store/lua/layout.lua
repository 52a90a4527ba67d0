-- Write whose store this is and in which layout, if it still says what it said before: all of
-- it or nothing, or two first workers with two keyrings would both be in it, and both be
-- refused from then on.
--
-- KEYS  1 layout  2 keyring
-- ARGV  1 the seal that the layout has ('' none)  2 the source that the keyring has ('' none)
--       3 how many fields and values of the layout follow; those of the keyring after them
-- Returns 1, or 0 if somebody was faster

local last = 3 + tonumber(ARGV[3])
-- Not everybody may write both.
local writing = #ARGV > last and {1, 2} or {1}
local refused = refusal({'hash', 'hash'}, {HSET = writing, HGET = {1, 2}})
if refused then return refused end

if (redis.call('HGET', KEYS[1], 'seal') or '') ~= ARGV[1] then return 0 end
if (redis.call('HGET', KEYS[2], 'source') or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 4, last))
if #ARGV > last then redis.call('HSET', KEYS[2], unpack(ARGV, last + 1)) end
return 1
