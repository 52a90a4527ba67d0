-- Read what decisions rest on. Writes nothing.
--
-- KEYS  1 items  2 keys  3 scopes  4 deks  5 waiting:sources     all of one project
-- ARGV  item refs
-- Returns five values for each ref, in order:
--   item record, key record, scope record (each false if absent),
--   1 if the scope's wrapped DEK is there, 1 if events wait for the item
--
-- The ids are found by their place, not by parsing: inside a JSON string a quote is always
-- escaped, so `"key_id":"` can only be the field. Whoever forges a record is caught by
-- its seal, in the caller.

-- Lua hands at most some 8,000 values to one call.
local PAGE_SIZE = 2000

-- Read fields of a hash, each with its value (false: absent).
local function read(key, fields)
  local found = {}
  for from = 1, #fields, PAGE_SIZE do
    local to = math.min(from + PAGE_SIZE - 1, #fields)
    local values = redis.call('HMGET', key, unpack(fields, from, to))
    for i = from, to do found[fields[i]] = values[i - from + 1] end
  end
  return found
end

-- An id in a record, or false. Found as it is, because a pattern takes ten times as long.
local function id_in(record, opening)
  local _, from = string.find(record, opening, 1, true)
  local to = from and string.find(record, '"', from + 1, true)
  return to and string.sub(record, from + 1, to - 1) or false
end

local anyone_waits = redis.call('EXISTS', KEYS[5]) == 1
local function is_in(from, to)
  return #redis.call('ZRANGEBYLEX', KEYS[5], '[' .. from, '(' .. to, 'LIMIT', 0, 1) == 1
end

-- For its first life, or for another.
local function waits(ref)
  if not anyone_waits then return 0 end
  return (is_in(ref .. ' ', ref .. '!') or is_in(ref .. '{', ref .. '|')) and 1 or 0
end

local items = read(KEYS[1], ARGV)
local key_of, scope_of, key_ids, scope_ids = {}, {}, {}, {}
for ref, item in pairs(items) do
  if item then
    key_of[ref], scope_of[ref] = id_in(item, '"key_id":"'), id_in(item, '"scope_id":"')
    key_ids[#key_ids + 1] = key_of[ref] or nil
    scope_ids[#scope_ids + 1] = scope_of[ref] or nil
  end
end
local keys, scopes = read(KEYS[2], key_ids), read(KEYS[3], scope_ids)

local out = {}
for _, ref in ipairs(ARGV) do
  local item, key_id, scope_id = items[ref], key_of[ref], scope_of[ref]
  out[#out + 1] = item
  out[#out + 1] = key_id and keys[key_id] or false
  out[#out + 1] = scope_id and scopes[scope_id] or false
  out[#out + 1] = scope_id and redis.call('HEXISTS', KEYS[4], scope_id) or 0
  out[#out + 1] = item and waits(ref) or 0
end
return out
