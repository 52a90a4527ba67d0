-- Read what the decision on one item rests on: what the peers of the benchmark ask for each event.
--
-- KEYS  1 items  2 keys
-- ARGV  1 ref  2 source, or ''
-- Returns the item's record, the source's, and the record of the source's key-id; false: absent.

local item = redis.call('HGET', KEYS[1], ARGV[1])
if ARGV[2] == '' then return { item, false, false } end
local source = redis.call('HGET', KEYS[1], ARGV[2])
local key_id = source and string.match(source, '"key_id":"([^"]+)"')
return { item, source, key_id and redis.call('HGET', KEYS[2], key_id) }
