-- Publish to an exchange: append each message to every queue whose pattern matches.
--
-- KEYS  1 the exchange's bindings (set of "<pattern> <queue>")
-- ARGV  triples of routing key, body, packed properties
-- Returns for each message how many queues it went to
--
-- A pattern is that of a topic exchange: words between dots, * for one, # for any number.
-- A queue whose holder has gone (no "<queue>:alive") is unbound and dropped, so that a
-- subscriber that crashed does not fill the disk. Durable queues are always alive.

local function words(text)
  local out = {}
  for word in string.gmatch(text .. '.', '([^.]*)%.') do out[#out + 1] = word end
  return out
end

local function matches(pattern, key, p, k)
  if p > #pattern then return k > #key end
  if pattern[p] == '#' then
    for from = k, #key + 1 do
      if matches(pattern, key, p + 1, from) then return true end
    end
    return false
  end
  if k > #key or (pattern[p] ~= '*' and pattern[p] ~= key[k]) then return false end
  return matches(pattern, key, p + 1, k + 1)
end

local queues = {}
for _, member in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local pattern, queue = string.match(member, '^(%S+) (%S+)$')
  if redis.call('EXISTS', queue .. ':alive') == 1 then
    queues[#queues + 1] = {words(pattern), queue}
  else
    redis.call('SREM', KEYS[1], member)
    redis.call('DEL', queue)
  end
end

local out = {}
for i = 1, #ARGV, 3 do
  local key, routed, seen = words(ARGV[i]), 0, {}
  for _, bound in ipairs(queues) do
    if not seen[bound[2]] and matches(bound[1], key, 1, 1) then
      redis.call('XADD', bound[2], '*', 'key', ARGV[i], 'body', ARGV[i + 1], 'properties', ARGV[i + 2])
      seen[bound[2]] = true
      routed = routed + 1
    end
  end
  out[#out + 1] = routed
end
return out
