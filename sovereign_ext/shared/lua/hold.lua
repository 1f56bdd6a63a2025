-- Say again what a call holds, after data were lost.
--
-- KEYS  reservations, slots, windows
-- ARGV  call, record, epoch, slots' time to live; how many slots, windows; of each window the amount
-- Gives 1 if it was lost, 0 if it is there.

local slots, windows = tonumber(ARGV[5]), tonumber(ARGV[6])
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then
  return 0
end
for index = 1, slots do
  occupy(KEYS[1 + index], ARGV[1], ARGV[4])
end
for index = 1, windows do
  local key = KEYS[1 + slots + index]
  local row = redis.call('HMGET', key, 'epoch', 'loader')
  if row[1] == ARGV[3] then
    redis.call('HINCRBY', key, 'reserved', ARGV[6 + index])
  elseif row[2] then
    redis.call('DEL', key) -- its sum may have this call in it, or not: load it again
  end
end
return 1
