// What interpreters cost to make, to keep and to end, in large numbers, beside actors of plain CAF.
// Prints "name value" lines for bench/births.sh. One question to a process, so that no question finds the memory of the
// one before:
//   births time [N]           microseconds to make and end one: CAF's and native ones N at a time, Lua's one after the
//                             other and 1000 at a time
//   births caf|native|lua|lua_functions [N]  bytes for each of N idle ones, by the system's count (RSS), and all of them in MiB
//   births end [N] [R]        seconds to finalize N Lua interpreters, each of which holds R references to another's objects
//   births grow [N]           RSS in MiB when a tenth, half and all of N Lua interpreters have come and gone
#include <malloc.h>
#include <unistd.h>

#include <caf/all.hpp>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>

#include <atoll/lua.hpp>
#include <atoll/native.hpp>

#include "actors/core.hpp"
#include "runtime/records.hpp"

namespace {

using namespace Atoll;

double seconds(clock_type::time_point since) {
  return std::chrono::duration<double>(clock_type::now() - since).count();
}

double resident_bytes() {
  long all = 0;
  long resident = 0;
  std::FILE* f = std::fopen("/proc/self/statm", "r");
  if (f == nullptr || std::fscanf(f, "%ld %ld", &all, &resident) != 2) std::abort();
  std::fclose(f);
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

constexpr double mebi = 1024.0 * 1024.0;

// -- CAF --------------------------------------------------------------------------------------------------------------

using ping_atom = caf::atom_constant<caf::atom("ping")>;
caf::behavior echo() {
  return {[](ping_atom, int i) { return i; }};
}

std::vector<caf::actor> caf_actors(caf::actor_system& sys, int n) {
  std::vector<caf::actor> all;
  all.reserve(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) all.push_back(sys.spawn(echo));
  return all;
}

void end_all(caf::actor_system& sys, std::vector<caf::actor> all) {
  for (const caf::actor& a : all) caf::anon_send_exit(a, caf::exit_reason::user_shutdown);
  all.clear();
  sys.await_all_actors_done();
}

struct plain_caf {
  plain_caf() { config.set("scheduler.max-threads", std::size_t{2}); }
  caf::actor_system_config config;
};

// -- Atoll ------------------------------------------------------------------------------------------------------------

/// In the nursery's turn, as another native interpreter would: its children start when the turn ends.
void bear(native_context& c, int n, std::vector<interpreter_id>& all) {
  for (int i = 0; i < n; ++i) {
    spawn_options options;
    options.language = "native";
    all.push_back(c.outside().spawn(options, {}, {}, 0).value());
  }
}

void stop(native_context& c, const std::vector<interpreter_id>& all) {
  for (const interpreter_id who : all) {
    wire_writer& w = c.outside().open_message(who, record_kind::stop);
    w.put_u64(0); // nobody waits for the answer
    w.put_u64(0);
    (void)c.outside().commit();
  }
}

struct nursery {
  std::vector<interpreter_id> children;
};

system_config with_both() {
  native_interface offered;
  offered.function("bear", [](native_context& c, int n) { bear(c, n, c.state<nursery>().children); });
  offered.function("stop", [](native_context& c) { stop(c, std::exchange(c.state<nursery>().children, {})); });
  system_config config;
  config.workers = 2;
  config.deadline = std::chrono::minutes(5);
  config.interpreters = 0; // no limit: a million and the nursery
  config.languages["native"] = Atoll::native(offered);
  config.languages["lua"] = Atoll::lua();
  return config;
}

constexpr std::string_view lua_nursery = R"(
  local atoll = require "atoll"
  local kept, code = {}, "return {}"
  local function bear(n) for i = 1, n do kept[#kept + 1] = atoll.spawn {code = code} end end
  local function stop_all()
    local ends = {}
    for i, w in ipairs(kept) do ends[i] = atoll.task(w.stop, w) end
    kept = {}
    for _, f in ipairs(ends) do f:await() end
  end
  return {
    bear = bear,
    stop_all = stop_all,
    set_code = function(text) code = text end,
    one_by_one = function(n) for i = 1, n do atoll.spawn {code = code}:stop() end end,
    each_takes = function(n)
      for i, w in ipairs(kept) do w:call("take", kept[i % #kept + 1], n) end
    end,
  })";

constexpr std::string_view functions = R"(
  local atoll = require "atoll"
  local own, held = {}, {}
  return {
    give = function(n)
      local refs = {}
      for i = 1, n do
        local object = {i}
        own[#own + 1] = object
        refs[i] = atoll.ref(object)
      end
      return refs
    end,
    take = function(peer, n) held[#held + 1] = peer:call("give", n) end,
  })";

interpreter_handle lua_parent(Atoll::system& runtime) {
  return runtime.spawn<Atoll::lua>({}, {source_kind::code, std::string(lua_nursery), "=nursery"}).value();
}

template <class... Args>
void ask(const interpreter_handle& who, std::string_view function, Args&&... args) {
  const auto answer = who.call<void>(function, std::forward<Args>(args)...).get();
  if (answer) return;
  std::fprintf(stderr, "births: %s\n", answer.error().message.c_str());
  std::_Exit(1);
}

std::size_t living(Atoll::system& runtime) { return runtime.list().size(); }

void until(Atoll::system& runtime, std::size_t left) {
  while (living(runtime) > left) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

// -- the questions ----------------------------------------------------------------------------------------------------

void time_them(int n) {
  constexpr int rounds = 5;
  const auto best = [&](auto&& round) {
    double least = 1e9;
    for (int i = 0; i < rounds; ++i) {
      const auto start = clock_type::now();
      round();
      least = std::min(least, seconds(start));
    }
    return least * 1e6 / n;
  };
  {
    plain_caf plain;
    caf::actor_system sys(plain.config);
    std::printf("caf %.3f\n", best([&] { end_all(sys, caf_actors(sys, n)); }));
  }
  Atoll::system runtime(with_both());
  {
    const auto parent = runtime.spawn<Atoll::native>({}).value();
    std::printf("native %.3f\n", best([&] {
                  ask(parent, "bear", n);
                  ask(parent, "stop");
                  until(runtime, 1);
                }));
    std::fflush(stdout);
    (void)parent.stop().get();
  }
  const auto parent = lua_parent(runtime);
  std::printf("lua_one %.3f\n", best([&] { ask(parent, "one_by_one", n / 10); }) * 10);
  std::printf("lua_many %.3f\n", best([&] {
                for (int i = 0; i < n / 1000; ++i) {
                  ask(parent, "bear", 1000);
                  ask(parent, "stop_all");
                }
              }));
}

void say_memory(const char* name, double before, int n) {
  const double after = resident_bytes();
  std::printf("%s_bytes %.0f\n%s_rss_mib %.1f\n", name, (after - before) / n, name, after / mebi);
  std::fflush(stdout);
}

void keep_caf(int n) {
  plain_caf plain;
  caf::actor_system sys(plain.config);
  end_all(sys, caf_actors(sys, 100));
  const double before = resident_bytes();
  auto all = caf_actors(sys, n);
  std::this_thread::sleep_for(std::chrono::seconds(1)); // until each has had its first turn
  say_memory("caf", before, n);
  end_all(sys, std::move(all));
}

void keep_native(int n) {
  Atoll::system runtime(with_both());
  const auto parent = runtime.spawn<Atoll::native>({}).value();
  ask(parent, "bear", 100);
  const double before = resident_bytes();
  const auto start = clock_type::now();
  for (int i = 0; i < n; i += 1000) ask(parent, "bear", std::min(1000, n - i));
  while (true) {
    const auto all = runtime.inside().where().list();
    if (std::none_of(all.begin(), all.end(), [](const auto& i) { return i.state == run_state::starting; })) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(500)); // a look at a million is long, and keeps births out
  }
  std::printf("native_birth_seconds %.2f\n", seconds(start));
  say_memory("native", before, n);
  const finalization_report r = runtime.finalize();
  std::printf("native_end_seconds %.2f\n", r.seconds);
}

void keep_lua(const char* name, std::string_view code, int n) {
  Atoll::system runtime(with_both());
  const auto parent = lua_parent(runtime);
  ask(parent, "set_code", std::string(code));
  ask(parent, "bear", 100);
  const double before = resident_bytes();
  const auto start = clock_type::now();
  ask(parent, "bear", n);
  std::printf("%s_birth_seconds %.2f\n", name, seconds(start));
  say_memory(name, before, n);
  const finalization_report r = runtime.finalize();
  std::printf("%s_end_seconds %.2f\n", name, r.seconds);
}

void end_them(int n, int references) {
  Atoll::system runtime(with_both());
  const auto parent = lua_parent(runtime);
  ask(parent, "set_code", std::string(functions));
  ask(parent, "bear", n);
  ask(parent, "each_takes", references);
  std::printf("end_rss_mib %.1f\n", resident_bytes() / mebi);
  const finalization_report r = runtime.finalize();
  for (const auto& p : r.phases) std::printf("end_%s %.3f\n", p.name.c_str(), p.seconds);
  std::printf("end_seconds %.3f\nend_verdict %s\nend_exported %llu\nend_released %llu\n", r.seconds, name_of(r.verdict),
              static_cast<unsigned long long>(r.exported), static_cast<unsigned long long>(r.released));
}

void grow(int n) {
  Atoll::system runtime(with_both());
  const auto parent = lua_parent(runtime);
  const int step = std::max(1, n / 10);
  for (int done = step; done <= n; done += step) {
    ask(parent, "one_by_one", step);
    if (done == step || done == 5 * step || done == 10 * step)
      std::printf("grow_%d_percent_mib %.2f\n", done / step * 10, resident_bytes() / mebi);
    std::fflush(stdout);
  }
}

} // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "time";
  const auto number_at = [&](int i, int otherwise) { return argc > i ? std::atoi(argv[i]) : otherwise; };
  if (what == "time") {
    time_them(number_at(2, 20000));
  } else if (what == "caf") {
    keep_caf(number_at(2, 100000));
  } else if (what == "native") {
    keep_native(number_at(2, 1000000));
  } else if (what == "lua") {
    keep_lua("lua", "return {}", number_at(2, 100000));
  } else if (what == "lua_functions") {
    keep_lua("lua_functions", functions, number_at(2, 10000));
  } else if (what == "end") {
    end_them(number_at(2, 10000), number_at(3, 100));
  } else if (what == "grow") {
    grow(number_at(2, 1000000));
  } else {
    std::fprintf(stderr, "births: time, caf, native, lua, lua_functions, end or grow\n");
    return 2;
  }
}
