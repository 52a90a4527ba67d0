-- Let entries leave the waiting room: their outcome is confirmed by the broker.
--
-- KEYS  1 waiting  2 waiting:deadlines  3 waiting:sources  4 parked  5 expired  6 stats
--       7 waiting:shares
-- ARGV  pairs of entry, source ref
-- Returns how many were there

local refused = refusal(
  {'hash', 'zset', 'zset', 'hash', 'hash', 'hash', 'hash'},
  {HDEL = {1, 4, 5, 7}, ZREM = {2, 3}, HINCRBY = {6}, HSET = {7}, HGET = {4, 7}, HLEN = {4}, HKEYS = {7}})
if refused then return refused end

-- A parked record begins with its source and the project whose event it is.
local function note(taken, record)
  local project = string.match(record, '^{"source":"[^"]*","project":"([^"]*)"')
  if not project then return end
  local share = taken[project] or {0, 0}
  taken[project] = {share[1] + 1, share[2] + #record}
end

local function give_room(project, events, bytes)
  local share = redis.call('HGET', KEYS[7], project)
  local held, size = string.match(share or '', '"events":(%d+),"bytes":(%d+)')
  if not held then return end
  events, bytes = tonumber(held) - events, math.max(tonumber(size) - bytes, 0)
  if events <= 0 then
    redis.call('HDEL', KEYS[7], project)
  else
    redis.call('HSET', KEYS[7], project, string.format('{"events":%d,"bytes":%d}', events, bytes))
  end
end

local removed, taken = 0, {}
for i = 1, #ARGV, 2 do
  local entry, source = ARGV[i], ARGV[i + 1]
  local there = redis.call('ZREM', KEYS[3], source .. ' ' .. entry)
  redis.call('HDEL', KEYS[1], entry)
  redis.call('ZREM', KEYS[2], entry)
  local record = redis.call('HGET', KEYS[4], entry)
  if record then note(taken, record) end
  redis.call('HDEL', KEYS[4], entry)
  redis.call('HDEL', KEYS[5], entry)
  removed = removed + there
end
for project, share in pairs(taken) do give_room(project, share[1], share[2]) end
-- Of damaged records nobody can say whose they were; an empty room owes nobody a place.
if redis.call('HLEN', KEYS[4]) == 0 then
  for _, project in ipairs(redis.call('HKEYS', KEYS[7])) do
    redis.call('HDEL', KEYS[7], project)
  end
end
if removed > 0 then redis.pcall('HINCRBY', KEYS[6], 'waiting', -removed) end
return removed
