-- Put records of a former layout into the present one, each only if it is still what it was
-- read as: several migrations may run at once, and one may be killed anywhere.
--
-- KEYS  hashes, all of one project
-- ARGV  for each change four values: which of KEYS, field, before ('' for none), after
-- Returns how many were made

local types, all = {}, {}
for i = 1, #KEYS do types[i], all[i] = 'hash', i end
local refused = refusal(types, {HSET = all, HGET = all})
if refused then return refused end

local made = 0
for at = 1, #ARGV, 4 do
  local key, field = KEYS[tonumber(ARGV[at])], ARGV[at + 1]
  if (redis.call('HGET', key, field) or '') == ARGV[at + 2] then
    redis.call('HSET', key, field, ARGV[at + 3])
    made = made + 1
  end
end
return made
