-- Move projects in the index of those that have something due, each only if it is where it
-- was when it was looked at: otherwise something has come since.
--
-- KEYS  1 due
-- ARGV  triples of project, its score as it was seen, and the new one ('' nothing waits there)
-- Returns how many were moved

local refused = refusal({'zset'}, {ZADD = {1}, ZREM = {1}, ZSCORE = {1}})
if refused then return refused end

local moved = 0
for i = 1, #ARGV, 3 do
  local project, seen, new = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local score = redis.call('ZSCORE', KEYS[1], project)
  if score and tonumber(score) == tonumber(seen) then
    if new == '' then
      redis.call('ZREM', KEYS[1], project)
    else
      redis.call('ZADD', KEYS[1], new, project)
    end
    moved = moved + 1
  end
end
return moved
