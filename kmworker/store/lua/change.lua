-- Change records of key-ids, and of their scope, at somebody's word or because time has passed.
-- Each is made only if what it rests on is still so.
--
-- KEYS  1 keys  2 scopes  3 outbox  4 keys:due  5 holders  6 commits  7 items  8 stats  9 fence
--       and where something is ended: 10 endings; all of one project
-- ARGV  1 the term of the KEK that these are written under, then for each change six values:
--   'K' key_id before after at holders
--       the key-id's record; at is when something is to be done about it, Unix seconds, '' never;
--       holders is what its counter must say ('-' for no counter), '' whatever it says
--   'S' scope_id before after '' ''
--       the scope's record
--   'H' key_id before after '' ''
--       the counter of the key-id's holders, '-' before for none
--   'I' ref before after '' ''
--       the item's record, which becomes a tombstone
--   'E' last entry '' '' ''
--       once, the last: what these end, to follow what must be the last of that list, to the byte
--       ('' it is empty); then all key-ids change or nothing does: what the entry says is so
-- Returns for each change 1 if it was made, else 0; a project that is fenced against that term is
-- not changed at all. Nothing but {-1} if there is another entry at the end of the list.
--
-- What is made becomes one commit, and what becomes of key-ids goes to the outbox with it.

-- Not everybody may write everything.
local writing, indexing, is_there = {}, {}, {}
local touched, counting = {K = {1, 3}, S = {2}, H = {5}, I = {7}}, {}
local ending = #ARGV > 6 and ARGV[#ARGV - 5] == 'E' and #ARGV - 5
local last = ending and ending - 1 or #ARGV
for at = 2, last, 6 do
  local kind = ARGV[at]
  if not is_there[kind] then
    is_there[kind] = true
    for _, key in ipairs(touched[kind]) do writing[#writing + 1] = key end
    if kind == 'K' then indexing[1] = 4 end
    if kind == 'I' then counting[1] = 8 end
  end
end

local refused = refusal(
  {'hash', 'hash', 'hash', 'zset', 'hash', 'string', 'hash', 'hash', 'string',
   ending and 'list' or nil},
  {HSET = writing, HGET = {1, 2, 5, 7}, ZADD = indexing, ZREM = indexing, HINCRBY = counting,
   INCR = {6}, RPUSH = ending and {10} or {}, LINDEX = ending and {10} or {}})
if refused then return refused end

local function is_held_by(key_id, holders)
  return holders == '' or (redis.call('HGET', KEYS[5], key_id) or '-') == holders
end

local function change_key(key_id, before, after, at, holders)
  if redis.call('HGET', KEYS[1], key_id) ~= before or not is_held_by(key_id, holders) then
    return 0
  end
  redis.call('HSET', KEYS[1], key_id, after)
  redis.call('HSET', KEYS[3], key_id .. ' ' .. string.match(after, '"version":(%d+)'), after)
  if at == '' then
    redis.call('ZREM', KEYS[4], key_id)
  else
    redis.call('ZADD', KEYS[4], at, key_id)
  end
  return 1
end

local function change_scope(scope_id, before, after)
  if redis.call('HGET', KEYS[2], scope_id) ~= before then return 0 end
  redis.call('HSET', KEYS[2], scope_id, after)
  return 1
end

local function change_holders(key_id, before, after)
  if (redis.call('HGET', KEYS[5], key_id) or '-') ~= before then return 0 end
  redis.call('HSET', KEYS[5], key_id, after)
  return 1
end

local function release(ref, before, after)
  if redis.call('HGET', KEYS[7], ref) ~= before then return 0 end
  redis.call('HSET', KEYS[7], ref, after)
  redis.pcall('HINCRBY', KEYS[8], 'released', 1)
  return 1
end

local change = {K = change_key, S = change_scope, H = change_holders, I = release}
local fence, spoilt = term_at(KEYS[9])
if spoilt then return spoilt end
local is_fenced = fence > tonumber(ARGV[1])
if ending and (redis.call('LINDEX', KEYS[10], -1) or '') ~= ARGV[ending + 1] then return {-1} end
local may_end = true
for at = 2, ending and last or 0, 6 do
  if ARGV[at] == 'K' then
    may_end = may_end and redis.call('HGET', KEYS[1], ARGV[at + 1]) == ARGV[at + 2]
      and is_held_by(ARGV[at + 1], ARGV[at + 5])
  end
end
local is_refused = is_fenced or not may_end
local out, made = {}, 0
for at = 2, last, 6 do
  out[#out + 1] = is_refused and 0 or change[ARGV[at]](unpack(ARGV, at + 1, at + 5))
  made = made + out[#out]
end
if made > 0 then redis.call('INCR', KEYS[6]) end
if ending and not is_refused then redis.call('RPUSH', KEYS[10], ARGV[ending + 2]) end
return out
