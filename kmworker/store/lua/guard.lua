-- Put before each script that writes. A script is not rolled back, so what can fail is
-- looked at before the first write: types and permissions here; memory, disk and role by
-- the server, which refuses a script's first write or none.

-- Some releases of Redis 8 ask whether the arguments are enough, too: any will do.
local SAMPLES = {
  HDEL = {'f'}, HEXISTS = {'f'}, HGET = {'f'}, HINCRBY = {'f', '1'}, HSET = {'f', 'v'},
  LINDEX = {'-1'}, LSET = {'0', 'v'}, RPUSH = {'v'}, SET = {'v'},
  ZADD = {'0', 'm'}, ZRANGEBYLEX = {'-', '+'}, ZREM = {'m'}, ZSCORE = {'m'},
}

-- The life of an item that events wait for by this name, as `life_ref` makes it.
local function life_of(name)
  local ref, generation = string.match(name, '^([^{]*){(%d+)}$')
  return ref or name, tonumber(generation) or 0
end

-- A tombstone of what was never heard of.
local function is_blank(record) return string.sub(record, 1, 12) == '{"data":null' end

-- Whether what waits for this life of an item can be decided: it was assigned, or is over. Its
-- number is the first of this name: inside a JSON string a quote is always escaped.
local function has_come(record, generation)
  if not record then return false end
  local newest = tonumber(string.match(record, '"generation":(%d+)')) or 0
  if newest ~= generation then return newest > generation end
  -- Released before it was heard of: its creation may be on its way.
  return not (is_blank(record) or string.find(record, '"assigned_generation":', 1, true))
end

-- The oldest term of which a KEK may still be written under in a project, by its fence; nil if
-- somebody has spoilt that.
local function term_in(fence)
  if not fence then return 0 end
  return string.find(fence, '^[1-9]%d*$') and #fence <= 15 and tonumber(fence) or nil
end

-- The same of a fence where it lies, or nil and the error to answer with.
local function term_at(key)
  local term = term_in(redis.call('MGET', key)[1])
  if term then return term end
  return nil, redis.error_reply('WRONGTYPE ' .. key .. ' holds no term')
end

-- Returns the error to answer with, or nil.
--   types     of each of KEYS, in order
--   commands  those that write, or that come after a write: each with its keys, by number
local function refusal(types, commands)
  for i, want in ipairs(types) do
    local got = redis.call('TYPE', KEYS[i])['ok']
    if got ~= 'none' and got ~= want then
      return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. got .. ', not a ' .. want)
    end
  end
  -- fakeredis has no users.
  for command, keys in pairs(redis.acl_check_cmd and commands or {}) do
    for _, i in ipairs(keys) do
      if not redis.acl_check_cmd(command, KEYS[i], unpack(SAMPLES[command] or {})) then
        return redis.error_reply('NOPERM this user may not run ' .. command .. ' on ' .. KEYS[i])
      end
    end
  end
end
