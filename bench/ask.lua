-- Asks for the paths of a file, one a line, all of one length: in turn (ORDER=turn), each at most once (once), or at random (random).
-- At the end one line of JSON: what came, and how long it took in microseconds; `usedup` is 1 when there were too few paths for once.

local order = os.getenv("ORDER")
-- The file as it is: a million strings would keep Lua's collector busy, and wrk is to be busy with asking.
local paths, length, count, head, tail
local at = 0
local threads = {}
usedup = 0

function setup(thread)
  threads[#threads + 1] = thread
end

function init(args)
  math.randomseed(tonumber(os.getenv("SEED") or "1"))
  local file = io.open(os.getenv("PATHS"))
  paths = file:read("*a")
  file:close()
  length = paths:find("\n", 1, true)
  count = #paths / length
  local request = wrk.format("GET", "/PATH")
  local place = request:find("/PATH", 1, true)
  head, tail = request:sub(1, place - 1), request:sub(place + 5)
end

function request()
  local which
  if order == "random" then
    which = math.random(0, count - 1)
  else
    if at == count then
      at = 0
      if order == "once" then usedup = 1 end
    end
    which = at
    at = at + 1
  end
  return head .. paths:sub(which * length + 1, which * length + length - 1) .. tail
end

function done(summary, latency)
  local errors = summary.errors
  local used = 0
  for _, thread in ipairs(threads) do used = used + thread:get("usedup") end
  io.write(string.format(
    '\n{"requests":%d,"microseconds":%d,"failed":%d,"refused":%d,"usedup":%d,"p50":%d,"p95":%d,"p99":%d}\n',
    summary.requests, summary.duration, errors.connect + errors.read + errors.write + errors.timeout, errors.status, used,
    latency:percentile(50), latency:percentile(95), latency:percentile(99)))
end
