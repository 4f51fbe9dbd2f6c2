// The finalization report as JSON keeps to its published schema, docs/report.schema.json, which keeps to what is read here.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include <atoll/lua.hpp>

#include "tests/actors/outside.hpp"

using namespace Atoll;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

json schema() {
  std::ifstream file(ATOLL_SOURCE_DIR "/docs/report.schema.json");
  REQUIRE(file);
  return json::parse(file);
}

bool is_a(const json& x, const std::string& type) {
  if (type == "object") return x.is_object();
  if (type == "array") return x.is_array();
  if (type == "string") return x.is_string();
  if (type == "number") return x.is_number();
  if (type == "integer") return x.is_number_integer();
  if (type == "null") return x.is_null();
  if (type == "boolean") return x.is_boolean();
  return false;
}

/// The part of JSON Schema that the schema uses; any other word in it is an error, and so is a field it does not name.
void check(const json& x, const json& by, const std::string& where, std::vector<std::string>& wrong) {
  for (const auto& [word, rule] : by.items()) {
    if (word == "$schema" || word == "title" || word == "description") continue;
    if (word == "type") {
      const json types = rule.is_array() ? rule : json::array({rule});
      if (std::none_of(types.begin(), types.end(), [&](const json& t) { return is_a(x, t); }))
        wrong.push_back(where + " is no " + rule.dump());
    } else if (word == "enum") {
      if (std::find(rule.begin(), rule.end(), x) == rule.end()) wrong.push_back(where + " is " + x.dump());
    } else if (word == "minimum") {
      if (x.is_number() && x < rule) wrong.push_back(where + " is " + x.dump());
    } else if (word == "required") {
      for (const json& name : rule)
        if (x.is_object() && !x.contains(name)) wrong.push_back(where + " has no " + name.dump());
    } else if (word == "properties") {
      if (!x.is_object()) continue;
      for (const auto& [name, field] : x.items()) {
        if (rule.contains(name))
          check(field, rule[name], where + "/" + name, wrong);
        else
          wrong.push_back(where + "/" + name + " is in no schema");
      }
    } else if (word == "items") {
      if (!x.is_array()) continue;
      for (std::size_t i = 0; i < x.size(); ++i) check(x[i], rule, where + "/" + std::to_string(i), wrong);
    } else {
      wrong.push_back("the schema has a word that is not known here: " + word);
    }
  }
}

std::vector<std::string> wrong_with(const json& report) {
  std::vector<std::string> wrong;
  check(report, schema(), "", wrong);
  return wrong;
}

} // namespace

TEST_CASE("report: as JSON it keeps to its published schema, whatever happened") {
  system_config config;
  config.workers = 2;
  config.deadline = 1s;
  config.languages["lua"] = lua();
  config.log = [](std::string_view) {};
  Atoll::system runtime(config);
  const char* const talkative = R"(
    local atoll = require "atoll"
    atoll.finalizer(nil, function() error("a finalizer fails") end, {priority = 1})
    return {give = function() return atoll.ref({}) end, touch = function() end}
  )";
  const auto a = runtime.spawn<lua>({.name = "a \xff\xfe b"}, code(talkative));
  REQUIRE(a);
  CHECK_FALSE(runtime.spawn<lua>({.name = "fails"}, code("error('no')")));
  const auto stuck = runtime.spawn<lua>({.name = "stuck"}, code(R"(
    local atoll = require "atoll"
    atoll.at_exit(function() while true do pcall(function() while true do end end) end end)
  )"));
  REQUIRE(stuck);
  const auto killed = runtime.spawn<lua>({.name = "killed"}, code(""));
  REQUIRE(killed->kill());
  const auto leaked = a->call<ref<>>("give").get();
  REQUIRE(leaked);
  const auto items = runtime.make_channel<int>({.capacity = 2});
  REQUIRE(items->send(1));
  REQUIRE(runtime.add_pending_call(a->id(), [] { throw std::runtime_error("it fails"); }));
  runtime.request_exit(9);
  const json report = json::parse(to_json(runtime.finalize()));
  INFO(report.dump(1));
  CHECK(wrong_with(report).empty());
  CHECK(report["verdict"] == "forced");
  CHECK(report["exit_status"] == 9);
  CHECK(report["phases"].size() == 6);
  CHECK(report["interpreters"].size() == 4);
  CHECK(report["references"]["leaked"].size() == 1);
  CHECK(report["references"]["leaked"][0]["holder"] == json::array({0}));
  CHECK(report["channels"].size() == 1);
  CHECK(report["finalizers"]["failed"] >= 1);
  CHECK(report["pending_calls"]["failed"] == 1);
}

TEST_CASE("report: what does not keep to the schema is noticed") {
  Atoll::system runtime({.workers = 1, .languages = {{"lua", lua()}}});
  REQUIRE(runtime.spawn<lua>({}, code("")));
  const json good = json::parse(to_json(runtime.finalize()));
  CHECK(wrong_with(good).empty());
  for (const auto& [path, value] :
       std::vector<std::pair<std::string, json>>{{"/verdict", "fine"},
                                                 {"/seconds", "long"},
                                                 {"/seconds", -1},
                                                 {"/phases/0/name", "closing"},
                                                 {"/phases/0/forced", json::array({1})},
                                                 {"/interpreters/0/id", 0},
                                                 {"/interpreters/0/id", 1.5},
                                                 {"/interpreters/0/error", "none"},
                                                 {"/interpreters/0/error", json::object()},
                                                 {"/references/leaked", json::array({json::object()})},
                                                 {"/extra", 1}}) {
    const std::string at = path; // clang captures no binding
    CAPTURE(at);
    json bad = good;
    bad[json::json_pointer(path)] = value;
    CHECK_FALSE(wrong_with(bad).empty());
  }
  json less = good;
  less.erase("messages");
  CHECK(wrong_with(less) == std::vector<std::string>{" has no \"messages\""});
}
