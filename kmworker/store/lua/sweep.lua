-- Find what the waiting room would otherwise keep: entries past their deadline, and
-- entries whose source came while nobody took them (a worker died in between).
--
-- KEYS  1 waiting  2 waiting:deadlines  3 waiting:sources  4 parked  5 expired  6 items
-- ARGV  1 now, Unix seconds  2 at most this many of each  3 look for sources after this one
-- Returns {due, present, next}
--   due      of the first call only: {entry, attempts, parked record or false, 1 if expired,
--            its source ref by that record or else by `waiting`, and by `waiting` alone}
--   present  lives of sources that have come and are waited for
--   next     where to go on looking, '' at the end
--
-- Marking is atomic with seeing the source absent. What has come once stays, as long as something
-- waits for it, so an entry that is unmarked while its source is present can never be marked later.

local refused = refusal(
  {'hash', 'zset', 'zset', 'hash', 'hash', 'hash'},
  {HSET = {1, 5}, HGET = {1, 4, 6}, HEXISTS = {5}, ZRANGEBYLEX = {3}, ZREM = {2, 3}})
if refused then return refused end

local limit = tonumber(ARGV[2])
-- Anything else no worker wrote, and none could hand it over: it is taken out.
local TEXT, TAKEN_OUT_MOST = '^[\32-\126]*$', 1000

-- `waiting` is for dashboards and not sealed; the parked record begins with its source.
local function sources_of(parked, waiting)
  local shown = waiting and string.match(waiting, '"source":"([^"]+)"') or ''
  return parked and string.match(parked, '^{"source":"([^"]+)"') or shown, shown
end

local function is_present(life)
  local ref, generation = life_of(life)
  return has_come(redis.call('HGET', KEYS[6], ref), generation)
end

local due, entries = {}, {}
if ARGV[3] == '' then
  entries = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[1], 'LIMIT', 0, limit)
end

local function look_at(entry)
  local waiting = redis.call('HGET', KEYS[1], entry)
  local parked = redis.call('HGET', KEYS[4], entry)
  local source, shown = sources_of(parked, waiting)
  local attempts = waiting and tonumber(string.match(waiting, '"attempts":(%d+)')) or 0
  if source == '' or not is_present(source) then
    redis.call('HSET', KEYS[5], entry, ARGV[1])
  end
  if waiting then
    local text = string.gsub(waiting, '"attempts":%d+', '"attempts":' .. (attempts + 1), 1)
    redis.call('HSET', KEYS[1], entry, text)
  end
  due[#due + 1] = {
    entry, attempts + 1, parked, redis.call('HEXISTS', KEYS[5], entry), source, shown,
  }
end

for _, entry in ipairs(entries) do
  if string.find(entry, TEXT) then look_at(entry) else redis.call('ZREM', KEYS[2], entry) end
end

local present, from, next_from = {}, ARGV[3] == '' and '-' or '(' .. ARGV[3] .. '!', ''
local seen, taken_out = 0, 0
while seen < limit and taken_out < TAKEN_OUT_MOST do
  local member = redis.call('ZRANGEBYLEX', KEYS[3], from, '+', 'LIMIT', 0, 1)[1]
  if not member then
    next_from = ''
    break
  end
  if string.find(member, TEXT) then
    local source = string.match(member, '^(%S+) ') or member
    if is_present(source) then present[#present + 1] = source end
    next_from = source
    from = '(' .. source .. '!'
    seen = seen + 1
  else
    redis.call('ZREM', KEYS[3], member)
    taken_out = taken_out + 1
  end
end
return {due, present, next_from}
