-- End the loading of a window: its spend is known from now on.
--
-- KEYS  reservations, window
-- ARGV  epoch, token of the loader, what the database says, time to live (ms), the window's name
-- Gives 1, or 0 where another took over.

if redis.call('HGET', KEYS[2], 'loader') ~= ARGV[2] then
  return 0
end
local reserved = 0
local all = redis.call('HGETALL', KEYS[1])
for index = 1, #all, 2 do
  reserved = reserved + (held(all[index + 1], ARGV[5]) or 0)
end
local spent = tonumber(ARGV[3]) + tonumber(redis.call('HGET', KEYS[2], 'late'))
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'epoch', ARGV[1], 'spent', text(spent), 'reserved', text(reserved))
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return 1
