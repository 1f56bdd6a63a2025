-- A call is over: replace what was reserved by what was used. The second time, it does nothing.
--
-- KEYS  reservations, buckets, slots, windows
-- ARGV  time, call, 'settle' or a tombstone; how many buckets, slots, windows; of each bucket: capacity, window,
--       correction; of each window: the amount reserved (negative), the amount billed
-- Gives 1 if the call was known. A tombstone is left where it was not: the question may still be on its way.

local now, call = clock(ARGV[1]), ARGV[2]
local buckets, slots, windows = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

local found = redis.call('HGET', KEYS[1], call)
if not found then
  if ARGV[3] ~= 'settle' then
    redis.call('HSET', KEYS[1], call, ARGV[3])
  end
  return 0
end
local _, holder = opened(found)
if holder == '-' then
  return 0
end
redis.call('HDEL', KEYS[1], call)

local place = 7
for index = 1, buckets do
  local key = KEYS[1 + index]
  local capacity, window, correction = tonumber(ARGV[place]), tonumber(ARGV[place + 1]), tonumber(ARGV[place + 2])
  if correction ~= 0 then
    local state = bucket(redis.call('GET', key), capacity, window, now)
    state.used = math.min(state.used + correction, 8000000000000000)
    keep(key, state, capacity, window)
  end
  place = place + 3
end
for index = 1, slots do
  redis.call('SREM', KEYS[1 + buckets + index], call)
end
for index = 1, windows do
  local key, reserved, billed = KEYS[1 + buckets + slots + index], ARGV[place], ARGV[place + 1]
  local row = redis.call('HMGET', key, 'epoch', 'loader')
  if row[2] then
    redis.call('HINCRBY', key, 'late', billed) -- what is being loaded leaves this call out
  elseif row[1] then
    redis.call('HINCRBY', key, 'reserved', reserved)
    redis.call('HINCRBY', key, 'spent', billed)
  end -- and of a window that nobody knows the database knows it
  place = place + 2
end
return 1
