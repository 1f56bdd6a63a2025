-- How buckets, slots and windows stand. Takes nothing.
--
-- KEYS  reservations, buckets, slots, windows
-- ARGV  time, epoch; how many buckets, slots, windows; of each bucket: capacity, window
-- Gives 'ok', the time, each bucket's used and part, each slot's calls, each window's spent and reserved. Or 'unknown'
-- and the windows (from 1) whose spend this epoch does not know.

local now, epoch = clock(ARGV[1]), ARGV[2]
local buckets, slots, windows = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])

local reply, unknown = { 'ok', now }, { 'unknown' }
for index = 1, buckets do
  local capacity, window = tonumber(ARGV[4 + 2 * index]), tonumber(ARGV[5 + 2 * index])
  local state = bucket(redis.call('GET', KEYS[1 + index]), capacity, window, now)
  reply[#reply + 1] = state.used
  reply[#reply + 1] = state.part
end
for index = 1, slots do
  reply[#reply + 1] = redis.call('SCARD', KEYS[1 + buckets + index])
end
for index = 1, windows do
  local row = redis.call('HMGET', KEYS[1 + buckets + slots + index], 'epoch', 'spent', 'reserved')
  if row[1] == epoch then
    reply[#reply + 1] = tonumber(row[2])
    reply[#reply + 1] = tonumber(row[3])
  else
    unknown[#unknown + 1] = index
  end
end
return #unknown > 1 and unknown or reply
