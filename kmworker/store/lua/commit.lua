-- Write one project's share of a batch: assign items, release them, park events. Atomic, and
-- idempotent by effect: a record that is not as it was seen is kept, whoever asks.
--
-- KEYS  1 items  2 keys  3 scopes  4 deks  5 lineage  6 holders  7 stats
--       8 waiting  9 waiting:deadlines  10 waiting:sources  11 parked  12 waiting:shares
--       13 commits  14 fence; and where a write clones or releases, changes a key-id, or grants:
--       15 outbox  16 keys:due  17 clones  18 tombstones  19 grants  20 unrecorded
--       and where one ends something: 21 endings
-- ARGV  1 most bytes of one project's events that may wait here
--       2 the term of the KEK that these are written under, then for each write one of
--   'A' ref record disposition scope_id key_id key_record scope_record dek source item key scope
--       before
--       assign; key_record, scope_record and dek are '' where nothing new is made; a key_record of
--       the source's key-id is what becomes of that, which is active again;
--       source is '' or the ref whose records must still be these, to the byte; key and scope
--       are '' where it has none; before is the tombstone that must be there, '' for no record
--   'R' ref before tombstone key_id key scope deactivated destroy_at now entry told
--       release, if the record is still this, to the byte ('' there is none); key_id is '' where
--       the item held none, and key and scope are as above; deactivated is what the key-id's
--       record becomes if nobody else holds it, '' if it stays; destroy_at and now are in Unix
--       seconds, destroy_at is '' where that has no time; entry and told are what is
--       left for the audit trail if the item was ever attached, '' where nobody records it
--   'G' ref before after entry told
--       write grants, if the record is still this, to the byte ('' there is none); entry and told
--       as above
--   'E' last entry
--       once, behind all others: what these grants end, to follow what must be the last of that list,
--       to the byte ('' it is empty); else, or where one of the grants is not as it was seen, all
--       grants are stale: what the entry says is so
--   'P' entry source parked waiting deadline project most
--       park, if this life of the source has not come, and fewer than `most` of the project's
--       events wait here: a flood takes up no place but its own project's
-- Returns {outcomes, the project's number of commits, 1 if this is one, 0 or the term that the
-- project is fenced with: then nothing is written, and all is stale}; for each write the outcome is
-- {code, record, waits}:
--   0 written   1 was there before, with its record   2 stale: look up and plan again
--   3 its scope is there without it
--   4 parked, with what its project has here as record, if that is near its bound
--   5 no room, with `events` or `bytes` and the same as record
--   waits is 1 if events wait for the item; of what was released, record is 1 if its key-id was
--   deactivated with it
--
-- Three steps: read what the writes rest on, decide them in order, write. A decision sees
-- what those before it will write. Reading and writing take few calls of many values: a
-- call costs as much as a record. Counters alone may fail after the first write (someone put
-- text into one): they can be recomputed, and pcall lets them be. Not so the number of commits,
-- which says later whether what is written here is still there: it is looked at before.

local WRITTEN, EXISTS, STALE, ORPHAN, PARKED, FULL = 0, 1, 2, 3, 4, 5
local NUMBER_OF_ARGS = {A = 14, R = 12, G = 6, P = 8, E = 3}
-- Of a bound; from here on a person is told.
local CROWDED = 0.8
-- Lua hands at most some 8,000 values to one call. Even, so that it parts no field and value.
local PAGE_SIZE = 2000

-- Where each write begins, whether one of them parks, or takes a tombstone's place; and where what
-- is ended is.
local places, parks, replaces, ending = {}, false, false, nil
do
  local at = 3
  while at <= #ARGV do
    if ARGV[at] == 'E' then ending = at else places[#places + 1] = at end
    parks = parks or ARGV[at] == 'P'
    replaces = replaces or ARGV[at] == 'A' and ARGV[at + 13] ~= ''
    at = at + NUMBER_OF_ARGS[ARGV[at]]
  end
end

local types = {
  'hash', 'hash', 'hash', 'hash', 'zset', 'hash', 'hash', 'hash', 'zset', 'zset', 'hash', 'hash',
  'string', 'string', 'hash', 'zset', 'hash', 'zset', 'hash', 'hash', 'list'}
local written, added, removed = {1, 2, 3, 4, 6}, {5}, replaces and {5} or {}
local incremented = {6, 7}
if parks then written, added = {1, 2, 3, 4, 6, 8, 11, 12}, {5, 9, 10} end
if #KEYS > 14 then
  for _, at in ipairs({15, 19, 20}) do written[#written + 1] = at end
  added[#added + 1], added[#added + 2] = 16, 18
  removed[#removed + 1] = 16
  incremented[3] = 17
end
local refused = refusal(
  {unpack(types, 1, #KEYS)},
  {HSET = written, ZADD = added, ZREM = removed, HINCRBY = incremented, INCR = {13},
   -- Other shares of the batch need these, or the count behind them: better none is written.
   ZRANGEBYLEX = {10}, HGET = {1}, RPUSH = ending and {21} or {}, LINDEX = ending and {21} or {}})
if refused then return refused end

local numbers = redis.call('MGET', KEYS[13], KEYS[14])
local commits, fence = numbers[1] or '0', term_in(numbers[2])
-- Redis counts to 2^63, and not on from a number that begins with a zero.
if commits ~= '0' and not string.find(commits, '^[1-9]%d*$') or #commits > 15 then
  return redis.error_reply('WRONGTYPE ' .. KEYS[13] .. ' holds no number of commits')
end
if not fence then return redis.error_reply('WRONGTYPE ' .. KEYS[14] .. ' holds no term') end
-- A writer that slept meanwhile: what it would write under an older KEK nobody would rewrap.
if fence > tonumber(ARGV[2]) then
  local stale = {}
  for i = 1, #places do stale[i] = {STALE, false, 0} end
  return {stale, tonumber(commits), 0, fence}
end

-- A hash as the decisions see it: what was read (false: absent) or will be written.
local function view(key) return {key = key, seen = {}, new = {}} end
local items, keys, scopes, deks = view(KEYS[1]), view(KEYS[2]), view(KEYS[3]), view(KEYS[4])
local waiting, parked, shares = view(KEYS[8]), view(KEYS[11]), view(KEYS[12])
local holders, outbox, grants = view(KEYS[6]), view(KEYS[15]), view(KEYS[19])
local unrecorded = view(KEYS[20])

local function read(hash, fields)
  for from = 1, #fields, PAGE_SIZE do
    local to = math.min(from + PAGE_SIZE - 1, #fields)
    local values = redis.call('HMGET', hash.key, unpack(fields, from, to))
    for i = from, to do hash.seen[fields[i]] = values[i - from + 1] end
  end
end

local function get(hash, field)
  if hash.seen[field] == nil then read(hash, {field}) end
  return hash.seen[field]
end

-- For secrets, which are not read.
local function has(hash, field)
  if hash.seen[field] == nil then
    hash.seen[field] = redis.call('HEXISTS', hash.key, field) == 1
  end
  return hash.seen[field]
end

local function put(hash, field, value)
  local new = hash.new
  hash.seen[field] = value
  new[#new + 1] = field
  new[#new + 1] = value
end

local function write(command, key, values)
  for from = 1, #values, PAGE_SIZE do
    redis.call(command, key, unpack(values, from, math.min(from + PAGE_SIZE - 1, #values)))
  end
end

-- What stands between two texts, '' if they are not there. Found as they are, because a
-- pattern takes ten times as long.
local function between(record, opening, closing)
  local _, from = string.find(record, opening, 1, true)
  local to = from and string.find(record, closing, from + 1, true)
  return to and string.sub(record, from + 1, to - 1) or ''
end

-- A source's key-id and scope-id, '' where it has none; nothing if it is absent.
local found = {}
local function ids_of(ref)
  if not found[ref] then
    local item = get(items, ref)
    if not item then return end
    found[ref] = {between(item, '"key_id":"', '"'), between(item, '"scope_id":"', '"')}
  end
  return found[ref]
end

-- What derives from it in the same batch rests on what it says now.
local function put_item(ref, record)
  found[ref] = nil
  put(items, ref, record)
end

local function read_all()
  local refs, sources, key_ids, scope_ids, counted_keys = {}, {}, {}, {}, {}
  for _, at in ipairs(places) do
    if ARGV[at] == 'A' then
      refs[#refs + 1] = ARGV[at + 1]
      if ARGV[at + 7] ~= '' then scope_ids[#scope_ids + 1] = ARGV[at + 4] end
      if ARGV[at + 9] ~= '' then sources[#sources + 1] = ARGV[at + 9] end
    elseif ARGV[at] == 'R' then
      refs[#refs + 1] = ARGV[at + 1]
      if ARGV[at + 4] ~= '' then
        sources[#sources + 1] = ARGV[at + 1]
        if ARGV[at + 7] ~= '' then counted_keys[#counted_keys + 1] = ARGV[at + 4] end
      end
    elseif ARGV[at] == 'P' then
      refs[#refs + 1] = life_of(ARGV[at + 2])
    end
  end
  read(items, refs)
  read(items, sources)
  for _, source in ipairs(sources) do
    local ids = ids_of(source)
    if ids then key_ids[#key_ids + 1], scope_ids[#scope_ids + 1] = ids[1], ids[2] end
  end
  read(keys, key_ids)
  read(scopes, scope_ids)
  read(holders, counted_keys)
end

-- Whether what a decision rested on is there still. Whole records, seals and all: so whoever has
-- written one of them behind the worker's back is noticed, whatever it was that he changed.
local function is_unchanged(ref, item, key, scope)
  if get(items, ref) ~= item then return false end
  if scope == '' then return true end
  local ids = ids_of(ref)
  return get(keys, ids[1]) == key and get(scopes, ids[2]) == scope and has(deks, ids[2])
end

local anyone_waits = redis.call('EXISTS', KEYS[10]) == 1
local awaited, sources, deadlines, number_parked = {}, {}, {}, nil

local function is_in(from, to)
  return #redis.call('ZRANGEBYLEX', KEYS[10], '[' .. from, '(' .. to, 'LIMIT', 0, 1) == 1
end

-- For its first life, or for another.
local function waits(ref)
  if awaited[ref] then return 1 end
  if not anyone_waits then return 0 end
  return (is_in(ref .. ' ', ref .. '!') or is_in(ref .. '{', ref .. '|')) and 1 or 0
end

-- Members of the lineage, and whether the last that was decided has them in it.
local lineage = {}
local held, born, counted, due, clones, tombstones = {}, {}, {}, {}, {}, {}
local function count(counters, field, by) counters[field] = (counters[field] or 0) + (by or 1) end

-- What has become of a key-id, to be announced, and when its time is over (false: it has none).
local function change(key_id, record, at)
  put(keys, key_id, record)
  put(outbox, key_id .. ' ' .. string.match(record, '"version":(%d+)'), record)
  due[key_id] = at
end

-- A tombstone gives way to another life of its item.
local function forget(ref, tombstone)
  if is_blank(tombstone) then
    count(counted, 'early', -1)
    return
  end
  local scope_id = between(tombstone, '"scope_id":"', '"')
  if scope_id ~= '' then lineage[scope_id .. ' ' .. ref] = false end
  count(counted, between(tombstone, '"disposition":"', '"') .. '_forgotten')
end

local function assign(at)
  local ref, record, disposition, scope_id = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local key_id, key_record = ARGV[at + 4], ARGV[at + 5]
  local scope_record, dek = ARGV[at + 6], ARGV[at + 7]
  local source = ARGV[at + 8]
  local before = get(items, ref)
  if (before or '') ~= ARGV[at + 12] then
    if before and ARGV[at + 12] == '' then return {EXISTS, before, waits(ref)} end
    return {STALE, false, 0}
  end
  if source ~= '' and not is_unchanged(source, ARGV[at + 9], ARGV[at + 10], ARGV[at + 11]) then
    return {STALE, false, 0}
  end
  if scope_record ~= '' then
    -- Its root is gone but its DEK encrypts data: minting over it would lose that data.
    if get(scopes, scope_id) or has(deks, scope_id) then return {ORPHAN, false, 0} end
    put(deks, scope_id, dek)
    put(scopes, scope_id, scope_record)
    -- By the KEK that it is wrapped under.
    count(counted, 'wraps:' .. between(scope_record, '"kek_id":"', '"'))
  end
  if before then forget(ref, before) end
  if key_record ~= '' then
    if source ~= '' and ids_of(source)[1] == key_id then
      change(key_id, key_record, false)
    else
      put(keys, key_id, key_record)
      born[key_id] = true
      if scope_record == '' then count(clones, scope_id) end
    end
  end
  if scope_id ~= '' then lineage[scope_id .. ' ' .. ref] = true end
  put_item(ref, record)
  if key_id ~= '' then count(held, key_id) end
  count(counted, disposition)
  return {WRITTEN, false, waits(ref)}
end

local function release(at)
  local ref, before, tombstone, key_id = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local deactivated, destroy_at = ARGV[at + 6], ARGV[at + 7]
  if (get(items, ref) or '') ~= before then return {STALE, false, 0} end
  if key_id ~= '' and not is_unchanged(ref, before, ARGV[at + 4], ARGV[at + 5]) then
    return {STALE, false, 0}
  end
  put_item(ref, tombstone)
  if before == '' then count(counted, 'early') end
  -- What has a scope goes with that.
  if not string.find(tombstone, '"scope_id":"', 1, true) then
    tombstones[#tombstones + 1], tombstones[#tombstones + 2] = ARGV[at + 8], ref
  end
  local is_last = false
  if key_id ~= '' then
    count(held, key_id, -1)
    is_last = deactivated ~= ''
      and (tonumber(get(holders, key_id) or '') or 0) + held[key_id] <= 0
    if is_last then change(key_id, deactivated, destroy_at ~= '' and destroy_at) end
  end
  -- Its attachments are over with it, and whoever records that looks for them.
  if ARGV[at + 9] ~= '' and get(grants, ref) then
    put(unrecorded, ARGV[at + 9], ARGV[at + 10])
  end
  count(counted, 'released')
  return {WRITTEN, is_last and 1 or false, waits(ref)}
end

local function is_as_seen(at) return (get(grants, ARGV[at]) or '') == ARGV[at + 1] end

-- Whether the grants may be written: what they end is told in the same step, or none of them is.
local function may_end()
  if (redis.call('LINDEX', KEYS[21], -1) or '') ~= ARGV[ending + 1] then return false end
  for _, at in ipairs(places) do
    if ARGV[at] == 'G' and not is_as_seen(at + 1) then return false end
  end
  return true
end
local may_grant = not ending or may_end()

local function grant(at)
  local ref = ARGV[at]
  if not may_grant or not is_as_seen(at) then return {STALE, false, 0} end
  put(grants, ref, ARGV[at + 2])
  if ARGV[at + 3] ~= '' then put(unrecorded, ARGV[at + 3], ARGV[at + 4]) end
  return {WRITTEN, false, 0}
end

-- How many of a project's events wait here, and their bytes. A share that someone spoilt
-- counts for nothing, and none is larger than all.
local taken = {}
local function share_of(project)
  if not taken[project] then
    number_parked = number_parked or redis.call('HLEN', KEYS[11])
    local events, bytes = string.match(get(shares, project) or '', '"events":(%d+),"bytes":(%d+)')
    taken[project] = {math.min(tonumber(events) or 0, number_parked), tonumber(bytes) or 0}
  end
  return taken[project]
end

-- What a project has here and what it may have, for a person.
local function crowd(share, most)
  return string.format(
    '{"events":%d,"bytes":%d,"events_max":%d,"bytes_max":%d}',
    share[1], share[2], most, tonumber(ARGV[1]))
end

local function park(at)
  local entry, source, event = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local ref, generation = life_of(source)
  if has_come(get(items, ref), generation) then return {STALE, false, 0} end
  -- Set once: a repeat neither extends the deadline nor counts twice.
  if has(parked, entry) then return {PARKED, false, 0} end
  local share = share_of(ARGV[at + 5])
  local most, most_bytes = tonumber(ARGV[at + 6]), tonumber(ARGV[1])
  if share[1] >= most then return {FULL, 'events ' .. crowd(share, most), 0} end
  if share[2] + #event > most_bytes then return {FULL, 'bytes ' .. crowd(share, most), 0} end
  share[1], share[2] = share[1] + 1, share[2] + #event
  local is_crowded = share[1] >= CROWDED * most or share[2] >= CROWDED * most_bytes
  put(parked, entry, event)
  put(waiting, entry, ARGV[at + 3])
  sources[#sources + 1] = '0'
  sources[#sources + 1] = source .. ' ' .. entry
  deadlines[#deadlines + 1] = ARGV[at + 4]
  deadlines[#deadlines + 1] = entry
  awaited[ref] = true
  count(counted, 'waiting')
  return {PARKED, is_crowded and crowd(share, most), 0}
end

-- Nothing but what would be missed: a repeat is no commit.
local function is_commit() return #items.new > 0 or #parked.new > 0 or #grants.new > 0 end

local function write_all()
  if is_commit() then commits = redis.call('INCR', KEYS[13]) end
  if ending and may_grant then redis.call('RPUSH', KEYS[21], ARGV[ending + 2]) end
  for project, share in pairs(taken) do
    put(shares, project, string.format('{"events":%d,"bytes":%d}', share[1], share[2]))
  end
  for key_id in pairs(born) do put(holders, key_id, held[key_id]) end
  local hashes = {
    deks, scopes, keys, items, parked, waiting, shares, holders, outbox, grants, unrecorded}
  for _, hash in ipairs(hashes) do write('HSET', hash.key, hash.new) end
  for key_id, at in pairs(due) do
    if at then
      redis.call('ZADD', KEYS[16], at, key_id)
    else
      redis.call('ZREM', KEYS[16], key_id)
    end
  end
  local joined, parted = {}, {}
  for member, is_in in pairs(lineage) do
    if is_in then
      joined[#joined + 1], joined[#joined + 2] = '0', member
    else
      parted[#parted + 1] = member
    end
  end
  write('ZREM', KEYS[5], parted)
  write('ZADD', KEYS[5], joined)
  write('ZADD', KEYS[10], sources)
  write('ZADD', KEYS[9], deadlines)
  write('ZADD', KEYS[18], tombstones)
  for key_id, number in pairs(held) do
    if not born[key_id] then redis.pcall('HINCRBY', KEYS[6], key_id, number) end
  end
  for field, number in pairs(counted) do redis.pcall('HINCRBY', KEYS[7], field, number) end
  for scope_id, number in pairs(clones) do redis.pcall('HINCRBY', KEYS[17], scope_id, number) end
end

read_all()
local out = {}
local act = {A = assign, R = release, G = grant, P = park}
for i, at in ipairs(places) do out[i] = act[ARGV[at]](at + 1) end
write_all()
return {out, tonumber(commits), is_commit() and 1 or 0, 0}
