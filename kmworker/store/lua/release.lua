-- Take back a counted try that ended without the event being at fault (the broker or
-- the store went away): only crashes may add up.
--
-- KEYS  1 waiting
-- ARGV  entries

local refused = refusal({'hash'}, {HSET = {1}})
if refused then return refused end

for _, entry in ipairs(ARGV) do
  local waiting = redis.call('HGET', KEYS[1], entry)
  local attempts = waiting and tonumber(string.match(waiting, '"attempts":(%d+)')) or 0
  if attempts > 0 then
    local text = string.gsub(waiting, '"attempts":%d+', '"attempts":' .. (attempts - 1), 1)
    redis.call('HSET', KEYS[1], entry, text)
  end
end
return #ARGV
