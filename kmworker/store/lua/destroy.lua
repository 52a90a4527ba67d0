-- Destroy a key-id, and its scope's wrapped DEK with the last of them. Once, and only if all is
-- as it was when the count began that says that nobody holds it.
--
-- KEYS  1 keys  2 scopes  3 deks  4 outbox  5 keys:due  6 holders  7 clones  8 commits  9 fence
--       10 endings
-- ARGV  1 key_id  2 its record  3 its record afterwards  4 what its counter of holders says
--       5 scope_id  6 the scope's record  7 what the scope's counter of clones says
--       8 the scope's record without its DEK, if no other key-id names that, else ''
--       9 when the key-id's record may go, Unix seconds
--       10 the term of the KEK that these are written under
--       11 the last of the endings ('' there is none)  12 the entry that is to follow it, '' for none
--       of 4 and 7, '-' is no counter
-- Returns 1 if it is done, 0 if something has changed meanwhile, or a project is fenced; -1 if
-- there is another entry at the end of the endings

local refused = refusal(
  {'hash', 'hash', 'hash', 'hash', 'zset', 'hash', 'hash', 'string', 'string', 'list'},
  {HSET = {1, 2, 4}, HGET = {1, 2, 6, 7}, HDEL = {3, 6, 7}, ZADD = {5}, HINCRBY = {7}, INCR = {8},
   RPUSH = {10}, LINDEX = {10}})
if refused then return refused end

local fence, spoilt = term_at(KEYS[9])
if spoilt then return spoilt end
if fence > tonumber(ARGV[10]) then return 0 end

local key_id, scope_id, is_last = ARGV[1], ARGV[5], ARGV[8] ~= ''
if redis.call('HGET', KEYS[1], key_id) ~= ARGV[2]
  or redis.call('HGET', KEYS[2], scope_id) ~= ARGV[6]
  or (redis.call('HGET', KEYS[6], key_id) or '-') ~= ARGV[4]
  or (redis.call('HGET', KEYS[7], scope_id) or '-') ~= ARGV[7] then
  return 0
end
if ARGV[12] ~= '' then
  if (redis.call('LINDEX', KEYS[10], -1) or '') ~= ARGV[11] then return -1 end
  redis.call('RPUSH', KEYS[10], ARGV[12])
end

redis.call('INCR', KEYS[8])
redis.call('HSET', KEYS[1], key_id, ARGV[3])
redis.call('HSET', KEYS[4], key_id .. ' ' .. string.match(ARGV[3], '"version":(%d+)'), ARGV[3])
redis.call('ZADD', KEYS[5], ARGV[9], key_id)
redis.call('HDEL', KEYS[6], key_id)
if is_last then
  redis.call('HSET', KEYS[2], scope_id, ARGV[8])
  redis.call('HDEL', KEYS[3], scope_id)
  redis.call('HDEL', KEYS[7], scope_id)
else
  redis.pcall('HINCRBY', KEYS[7], scope_id, -1)
end
return 1
