-- Forget a consumer that has died, if it has left nothing behind.
--
-- KEYS  1 the work stream
--       2 the consumer's sign of life
-- ARGV  1 group, 2 consumer
-- Returns 1 if it is forgotten
--
-- To delete a consumer is to delete what is pending with it, and that is not delivered again
-- to anyone. One that was only paused may have read since we looked, so we look here again.

if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2])
if #pending > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1
