-- Asks for the paths of a file, one a line: in turn (ORDER=turn), each at most once (once), or at random (random).
-- At the end one line of JSON: what came, and how long it took in microseconds; `usedup` is 1 when there were too few paths for once.

local requests = {}
local order = os.getenv("ORDER")
local at = 0
local threads = {}
usedup = 0

function setup(thread)
  threads[#threads + 1] = thread
end

function init(args)
  math.randomseed(tonumber(os.getenv("SEED") or "1"))
  for path in io.lines(os.getenv("PATHS")) do
    requests[#requests + 1] = wrk.format("GET", path)
  end
end

function request()
  if order == "random" then return requests[math.random(#requests)] end
  at = at + 1
  if at > #requests then
    at = 1
    if order == "once" then usedup = 1 end
  end
  return requests[at]
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
