-- Take events that wait for a source, for another try.
--
-- KEYS  1 waiting  2 waiting:sources  3 parked  4 expired
-- ARGV  1 the source's ref  2 at most this many
-- Returns for each entry {entry, attempts, parked record or false, 1 if marked expired, the life of
-- the source that it waits for}
--
-- The try is counted before it is made. An event that kills its worker is then seen to
-- have been tried, however the worker dies.

local refused = refusal(
  {'hash', 'zset', 'hash', 'hash'}, {HSET = {1}, HGET = {1, 3}, HEXISTS = {4}, ZREM = {2}})
if refused then return refused end

-- Anything else no worker wrote, and none could hand it over.
local function is_name(entry) return string.find(entry, '^[\32-\126]*$') end

local function attempt(entry)
  local waiting = redis.call('HGET', KEYS[1], entry)
  local before = waiting and tonumber(string.match(waiting, '"attempts":(%d+)')) or 0
  if waiting then
    local text = string.gsub(waiting, '"attempts":%d+', '"attempts":' .. (before + 1), 1)
    redis.call('HSET', KEYS[1], entry, text)
  end
  return before + 1
end

local out = {}
local function take(member)
  local life, entry = string.match(member, '^(%S+) (.*)$')
  if entry and is_name(entry) then
    out[#out + 1] = {
      entry, attempt(entry),
      redis.call('HGET', KEYS[3], entry), redis.call('HEXISTS', KEYS[4], entry), life,
    }
  else
    redis.call('ZREM', KEYS[2], member)
  end
end

-- What waits for its first life, and then for others.
for _, ends in ipairs({{' ', '!'}, {'{', '|'}}) do
  local from, to = '[' .. ARGV[1] .. ends[1], '(' .. ARGV[1] .. ends[2]
  local left = tonumber(ARGV[2]) - #out
  if left > 0 then
    for _, member in ipairs(redis.call('ZRANGEBYLEX', KEYS[2], from, to, 'LIMIT', 0, left)) do
      take(member)
    end
  end
end
return out
