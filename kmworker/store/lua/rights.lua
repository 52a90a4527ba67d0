-- Say which of these commands the user may not run, and run none of them.
--
-- ARGV  of each command how many words it has, and these
-- Returns the numbers of those that are refused, counted from 1.

local refused, at, number = {}, 1, 0
-- fakeredis has no users.
while redis.acl_check_cmd and at <= #ARGV do
  local words = tonumber(ARGV[at])
  number = number + 1
  if not redis.acl_check_cmd(unpack(ARGV, at + 1, at + words)) then
    refused[#refused + 1] = number
  end
  at = at + words + 1
end
return refused
