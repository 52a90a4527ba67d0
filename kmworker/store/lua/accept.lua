-- Go on with a store that was rolled back, by the incident's name: count from the newest
-- number that anyone has seen, and make up for what is lost of it. Any KEK may have wrapped what
-- it lost.
--
-- KEYS  1 commits  2 wraps
-- ARGV  1 the incident  2 a number of commits that was seen  3 the sum of the projects' numbers
--       4 a number beyond which none was counted
--       5 how many wraps each lost commit may stand for; behind it the KEKs that there may be
-- Returns the number from which on counting goes, or 0 if that is not the incident

local refused = refusal({'hash'}, {HSET = {1}, HDEL = {1}, HINCRBY = {2}})
if refused then return refused end

if redis.call('HGET', KEYS[1], 'incident') ~= ARGV[1] then return 0 end
local number = tonumber(redis.call('HGET', KEYS[1], 'number')) or 0
if number > tonumber(ARGV[4]) then number = 0 end
-- One more than any, so that it is nobody's past.
number = math.max(number, tonumber(ARGV[2]), tonumber(ARGV[3])) + 1
local forgiven = tonumber(redis.call('HGET', KEYS[1], 'forgiven')) or 0
local lost = math.max(number - tonumber(ARGV[3]) - forgiven, 1)
for i = 6, #ARGV do
  -- A count that somebody has written over says nothing either way.
  redis.pcall('HINCRBY', KEYS[2], ARGV[i], string.format('%d', lost * tonumber(ARGV[5])))
end
redis.call('HSET', KEYS[1], 'number', string.format('%d', number))
redis.call('HSET', KEYS[1], 'forgiven', string.format('%d', number - tonumber(ARGV[3])))
redis.call('HSET', KEYS[1], 'accepted', ARGV[1])
redis.call('HDEL', KEYS[1], 'incident')
return number
