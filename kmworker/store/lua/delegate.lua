-- Read what a request for a key is decided by, and the wrapped DEK. Writes nothing.
--
-- KEYS  1 items  2 keys  3 scopes  4 deks  5 grants  6 endings     all of one project
-- ARGV  for each request two values: 'I' and an item ref, or 'K' and a key-id
-- Returns the last of the endings (false: there is none), as of the same moment: whoever knows it
-- knows what of this is over; then five values for each, in order, each false if absent:
--   item record, key record, scope record, wrapped DEK, record of grants

-- An id in a record, or false; as in lookup.lua.
local function id_in(record, opening)
  local _, from = string.find(record, opening, 1, true)
  local to = from and string.find(record, '"', from + 1, true)
  return to and string.sub(record, from + 1, to - 1) or false
end

local out = {redis.call('LINDEX', KEYS[6], -1)}
for at = 1, #ARGV, 2 do
  local name = ARGV[at + 1]
  local item, grants, key_id, scope_id = false, false, false, false
  if ARGV[at] == 'I' then
    item = redis.call('HGET', KEYS[1], name)
    grants = redis.call('HGET', KEYS[5], name)
    key_id = item and id_in(item, '"key_id":"')
    scope_id = item and id_in(item, '"scope_id":"')
  else
    key_id = name
  end
  local key = key_id and redis.call('HGET', KEYS[2], key_id)
  if ARGV[at] == 'K' then scope_id = key and id_in(key, '"scope_id":"') end
  out[#out + 1] = item
  out[#out + 1] = key
  out[#out + 1] = scope_id and redis.call('HGET', KEYS[3], scope_id)
  out[#out + 1] = scope_id and redis.call('HGET', KEYS[4], scope_id)
  out[#out + 1] = grants
end
return out
