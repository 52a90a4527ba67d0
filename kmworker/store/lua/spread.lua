-- Count which KEK is named by the sealed records of one project, a page at a time. Writes nothing.
--
-- KEYS  1 items  2 keys  3 scopes  4 parked  5 outbox  6 grants  7 unrecorded  8 stats
-- ARGV  1 which of the first seven to go on with  2 where, as the server said  3 about how many
--       records  4 and on: KEKs, whose wraps are asked for
-- Returns {which to go on with, 0 for none, where, what the seals name, what wrapped DEKs are
-- under, the wraps}: the second to last two as kek_id and number, one after the other, and the
-- wraps in the order of the KEKs, at the end alone
--
-- Seals are found by their place at a record's end, and not checked: whoever forges one is found
-- out by who reads it, and here counts as what he writes.

local SEALED = 7

local function count(counters, kek_id) counters[kek_id] = (counters[kek_id] or 0) + 1 end

local function flat(counters)
  local found = {}
  for kek_id, number in pairs(counters) do
    found[#found + 1], found[#found + 2] = kek_id, number
  end
  return found
end

-- A key of another type has no records.
local function is_hash(key) return redis.call('TYPE', key)['ok'] == 'hash' end

local function scan(key, cursor)
  if not is_hash(key) then return {'0', {}} end
  return redis.call('HSCAN', key, cursor, 'COUNT', ARGV[3])
end

local which, cursor, looked_at = tonumber(ARGV[1]), ARGV[2], 0
local records, deks = {}, {}
while which <= SEALED and looked_at < tonumber(ARGV[3]) do
  local found = scan(KEYS[which], cursor)
  cursor = found[1]
  for i = 2, #found[2], 2 do
    local record = found[2][i]
    local is_sealed = string.sub(record, -63, -52) == ',"seal":"v2.'
    count(records, is_sealed and string.sub(record, -51, -36) or '')
    if which == 3 and not string.find(record, '"destroyed_at":"', 1, true) then
      count(deks, string.match(record, '"kek_id":"([^"]*)"') or '')
    end
    looked_at = looked_at + 1
  end
  -- Each look takes its time, also one that finds nothing.
  looked_at = looked_at + 1
  if cursor == '0' then which = which + 1 end
end
if which <= SEALED then return {which, cursor, flat(records), flat(deks), {}} end
local fields, wraps = {}, {}
for i = 4, #ARGV do fields[#fields + 1] = 'wraps:' .. ARGV[i] end
if #fields > 0 and is_hash(KEYS[8]) then wraps = redis.call('HMGET', KEYS[8], unpack(fields)) end
return {0, '0', flat(records), flat(deks), wraps}
