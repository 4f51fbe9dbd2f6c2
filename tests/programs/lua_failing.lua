-- An uncaught error of main: its message and traceback on standard error, status 1.
-- expect-error: lua_failing.lua:8: boom
-- expect-error: stack traceback:
-- expect-error: in local 'explode'
-- expect-status: 1

local function explode()
  error("boom")
end
explode()
