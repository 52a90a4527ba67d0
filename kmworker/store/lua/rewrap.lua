-- Have records of one project under another KEK, each only if it is still what it was read as; a
-- scope's record and its wrapped DEK both or neither. And fence the project first: from then on
-- nobody writes there under a KEK of an older term.
--
-- KEYS  1 items  2 keys  3 scopes  4 deks  5 parked  6 outbox  7 commits  8 fence  9 grants
--       10 stats  11 unrecorded  12 endings, a list: what is said of fields are places in it
-- ARGV  1 the term of the KEK that these are written under
--       2 1: fence the project with it
--       3 the KEK that these are written under
--       then for each change six values: which of KEYS, field, before, after, and of a scope its
--       wrapped DEK before and after, '' where it has none
-- Returns how many were made, or -1 if the project is fenced against that term

local refused = refusal(
  {'hash', 'hash', 'hash', 'hash', 'hash', 'hash', 'string', 'string', 'hash', 'hash', 'hash',
   'list'},
  {HSET = {1, 2, 3, 4, 5, 6, 9, 11}, HGET = {1, 2, 3, 4, 5, 6, 9, 11}, INCR = {7}, SET = {8},
   HINCRBY = {10}, LSET = {12}, LINDEX = {12}})
if refused then return refused end

local fence, spoilt = term_at(KEYS[8])
if spoilt then return spoilt end
local term = tonumber(ARGV[1])
if fence > term then return -1 end

local made, wraps = 0, 0
for at = 4, #ARGV, 6 do
  local key, field, before, after = KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local dek, dek_after = ARGV[at + 4], ARGV[at + 5]
  local is_in_list = key == KEYS[12]
  local is_same = redis.call(is_in_list and 'LINDEX' or 'HGET', key, field) == before
    and (dek == '' or redis.call('HGET', KEYS[4], field) == dek)
  if is_same then
    redis.call(is_in_list and 'LSET' or 'HSET', key, field, after)
    if dek_after ~= dek then
      redis.call('HSET', KEYS[4], field, dek_after)
      wraps = wraps + 1
    end
    made = made + 1
  end
end
local is_fencing = ARGV[2] == '1' and fence < term
if is_fencing then redis.call('SET', KEYS[8], ARGV[1]) end
if wraps > 0 then redis.pcall('HINCRBY', KEYS[10], 'wraps:' .. ARGV[3], wraps) end
if made > 0 or is_fencing then redis.call('INCR', KEYS[7]) end
return made
