-- Fence a project, as `rewrap` does before it rewraps one: from then on nobody writes there under
-- a KEK of an older term, however long he has slept.
--
-- KEYS  1 commits  2 fence
-- ARGV  1 the term
-- Returns 1 if it has that fence now, or 0 if it has one of a newer term

local refused = refusal({'string', 'string'}, {INCR = {1}, SET = {2}})
if refused then return refused end

local fence, spoilt = term_at(KEYS[2])
if spoilt then return spoilt end
local term = tonumber(ARGV[1])
if fence > term then return 0 end
if fence < term then
  redis.call('SET', KEYS[2], ARGV[1])
  redis.call('INCR', KEYS[1])
end
return 1
