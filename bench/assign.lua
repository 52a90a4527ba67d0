-- Assign one item: what the peers of the benchmark run for each event. Atomic.
--
-- KEYS  1 items  2 keys  3 scopes  4 deks  5 lineage  6 holders  7 stats
-- ARGV  1 ref  2 record  3 disposition  4 scope_id  5 key_id  6 key_record  7 scope_record  8 dek
--       9 source  10 source's record: what the decision rested on; 6 to 10 may be ''
-- Returns nil if written, the record that was there before, or 'stale'.

local before = redis.call('HGET', KEYS[1], ARGV[1])
if before then return before end
if ARGV[9] ~= '' and redis.call('HGET', KEYS[1], ARGV[9]) ~= ARGV[10] then return 'stale' end
if ARGV[7] ~= '' then
  redis.call('HSET', KEYS[4], ARGV[4], ARGV[8])
  redis.call('HSET', KEYS[3], ARGV[4], ARGV[7])
end
if ARGV[6] ~= '' then redis.call('HSET', KEYS[2], ARGV[5], ARGV[6]) end
redis.call('ZADD', KEYS[5], 0, ARGV[4] .. ' ' .. ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HINCRBY', KEYS[6], ARGV[5], 1)
redis.call('HINCRBY', KEYS[7], ARGV[3], 1)
return false
