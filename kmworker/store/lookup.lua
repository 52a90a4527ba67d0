-- Read what decisions rest on. Writes nothing.
--
-- KEYS  1 items  2 keys  3 scopes  4 deks  5 waiting:sources     all of one project
-- ARGV  item refs
-- Returns five values for each ref, in order:
--   item record, key record, scope record (each false if absent),
--   1 if the scope's wrapped DEK is there, 1 if events wait for the item
--
-- The ids are found by pattern, not by parsing: inside a JSON string a quote is always
-- escaped, so `"key_id":"` can only be the field. Whoever forges a record is caught by
-- its seal, in the caller.

local anyone_waits = redis.call('EXISTS', KEYS[5]) == 1
local out = {}
for _, ref in ipairs(ARGV) do
  local item = redis.call('HGET', KEYS[1], ref)
  local key, scope, dek, waiting = false, false, 0, 0
  if item then
    local key_id = string.match(item, '"key_id":"([^"]+)"')
    local scope_id = string.match(item, '"scope_id":"([^"]+)"')
    if key_id then key = redis.call('HGET', KEYS[2], key_id) end
    if scope_id then
      scope = redis.call('HGET', KEYS[3], scope_id)
      dek = redis.call('HEXISTS', KEYS[4], scope_id)
    end
    if anyone_waits then
      waiting = #redis.call('ZRANGEBYLEX', KEYS[5], '[' .. ref .. ' ', '(' .. ref .. '!', 'LIMIT', 0, 1)
    end
  end
  out[#out + 1] = item
  out[#out + 1] = key
  out[#out + 1] = scope
  out[#out + 1] = dek
  out[#out + 1] = waiting
end
return out
