-- Take all that a call draws on, or nothing of it.
--
-- KEYS  reservations, buckets, slots, windows
-- ARGV  time, call, record ('' = nothing to settle), epoch, slots' time to live; how many buckets, slots, windows;
--       of each bucket: capacity, window, amount; of each slot: capacity; of each window: cap, amount, time to live
-- Gives 'ok' or 'full', the time, each bucket's used and part, each slot's calls, each window's sum. Those of 'full' are
-- from before. Or 'unknown' and the windows (from 1) whose spend this epoch does not know; or 'void'.

local now, call, record, epoch = clock(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local buckets, slots, windows = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])

local again = false
if record ~= '' then
  local found = redis.call('HGET', KEYS[1], call)
  if found then
    local _, holder = opened(found)
    if holder == '-' then
      return { 'void' }
    end
    again = true
  end
end

local sums, unknown = {}, { 'unknown' }
for index = 1, windows do
  local row = redis.call('HMGET', KEYS[1 + buckets + slots + index], 'epoch', 'spent', 'reserved')
  if row[1] == epoch then
    sums[index] = tonumber(row[2]) + tonumber(row[3])
  else
    unknown[#unknown + 1] = index
  end
end
if #unknown > 1 and not again then
  return unknown
end

local full, reply, states, place = false, { 'ok', now }, {}, 9
local stored = buckets > 0 and redis.call('MGET', unpack(KEYS, 2, 1 + buckets)) or {}
for index = 1, buckets do
  local capacity, window, amount = tonumber(ARGV[place]), tonumber(ARGV[place + 1]), tonumber(ARGV[place + 2])
  local state = bucket(stored[index], capacity, window, now)
  state.capacity, state.window, state.before = capacity, window, state.used
  states[index] = state
  if state.back then
    keep(KEYS[1 + index], state, capacity, window) -- also if the call is refused, or it would never fill up
  end
  if not again then
    state.used = state.used + amount
    full = full or state.used > capacity
  end
  place = place + 3
end
local counts = {}
for index = 1, slots do
  counts[index] = redis.call('SCARD', KEYS[1 + buckets + index])
  full = full or (not again and counts[index] + 1 > tonumber(ARGV[place]))
  place = place + 1
end
local sizes = place
for index = 1, windows do
  if not again then
    full = full or sums[index] + tonumber(ARGV[place + 1]) > tonumber(ARGV[place])
  end
  place = place + 3
end

if full then
  reply[1] = 'full'
elseif not again then
  if record ~= '' then
    redis.call('HSET', KEYS[1], call, record)
  end
  for index, state in ipairs(states) do
    keep(KEYS[1 + index], state, state.capacity, state.window)
  end
  for index = 1, slots do
    occupy(KEYS[1 + buckets + index], call, ARGV[5])
  end
  for index = 1, windows do
    local key, amount = KEYS[1 + buckets + slots + index], ARGV[sizes + 3 * index - 2]
    redis.call('HINCRBY', key, 'reserved', amount)
    redis.call('PEXPIRE', key, ARGV[sizes + 3 * index - 1])
    sums[index] = sums[index] + tonumber(amount)
  end
end
for _, state in ipairs(states) do
  reply[#reply + 1] = full and state.before or state.used
  reply[#reply + 1] = state.part
end
for index = 1, slots do
  reply[#reply + 1] = counts[index]
end
for index = 1, windows do
  reply[#reply + 1] = sums[index] or 0
end
return reply
