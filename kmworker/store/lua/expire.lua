-- Let waiting events expire now: a sweep then sends them to the dead letters, or assigns
-- them if their source has come. Nothing else of them is touched.
--
-- KEYS  1 waiting  2 waiting:deadlines
-- ARGV  1 now, Unix seconds  2 the same in RFC 3339  3… entries
-- Returns for each entry 1 if its deadline is now, 2 if it was past before, 0 if it is gone
--
-- An entry that has left the waiting room is not brought back: what is left of one would be
-- swept as an event whose body is lost.

local GONE, NOW, PAST = 0, 1, 2

local refused = refusal({'hash', 'zset'}, {HSET = {1}, HGET = {1}, ZADD = {2}, ZSCORE = {2}})
if refused then return refused end

local function expire(entry)
  local waiting = redis.call('HGET', KEYS[1], entry)
  local deadline = redis.call('ZSCORE', KEYS[2], entry)
  if not waiting or not deadline then return GONE end
  if tonumber(deadline) <= tonumber(ARGV[1]) then return PAST end
  local shown = '"deadline":"' .. ARGV[2] .. '"'
  local text = string.gsub(waiting, '"deadline":"[^"]*"', shown, 1)
  redis.call('HSET', KEYS[1], entry, text)
  redis.call('ZADD', KEYS[2], 'XX', ARGV[1], entry)
  return NOW
end

local out = {}
for i = 3, #ARGV do out[#out + 1] = expire(ARGV[i]) end
return out
