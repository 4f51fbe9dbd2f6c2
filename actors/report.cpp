#include "actors/report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

namespace Atoll {

const char* name_of(finalization_report::verdict_kind verdict) noexcept {
  switch (verdict) {
  case finalization_report::verdict_kind::clean: return "clean";
  case finalization_report::verdict_kind::forced: return "forced";
  case finalization_report::verdict_kind::leaked: break;
  }
  return "leaked";
}

namespace {

std::string holders(const exported_object& l) {
  std::string all;
  for (const interpreter_id h : l.holders)
    all += (all.empty() ? "by " : ", ")
           + (h == host_interpreter ? "the host program" : fmt::format("interpreter {}", number(h)));
  return all.empty() ? "from outside" : all;
}

/// Outcomes by number, as in "3 stopped, 1 exited".
std::string outcomes(const finalization_report& r) {
  std::map<std::string, int> counts;
  for (const interpreter_report& i : r.interpreters) ++counts[name_of(i.outcome)];
  std::string text;
  for (const auto& [name, n] : counts) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", n, name);
  return text;
}

} // namespace

std::string to_text(const finalization_report& r) {
  std::string out = fmt::format("finalization: {} in {:.3f} s\n", name_of(r.verdict), r.seconds);
  for (const auto& p : r.phases)
    for (const std::string& who : p.forced) out += fmt::format("  forced in {}: interpreter {}\n", p.name, who);
  for (const exported_object& l : r.leaked)
    out += fmt::format("  leaked: {} {} of interpreter {}, still held {}\n", l.type, l.id.slot,
                       number_and_name(l.id.owner, l.owner_name), holders(l));
  for (const interpreter_report& i : r.interpreters)
    if (i.outcome != end_kind::exited && i.outcome != end_kind::stopped)
      out += fmt::format("  {}: interpreter {}: {}\n", name_of(i.outcome), number_and_name(i.id, i.name),
                         i.failure.message);
  out += "  phases:";
  for (const auto& p : r.phases) out += fmt::format(" {} {:.3f} s", p.name, p.seconds);
  out += fmt::format("\n  interpreters: {} ({})\n", r.interpreters.size(), outcomes(r));
  out += fmt::format("  references: {} exported, {} released, {} leaked\n", r.exported, r.released, r.leaked.size());
  out += fmt::format("  messages: {} delivered, {} dead letters\n", r.messages_delivered, r.dead_letters);
  out += fmt::format("  finalizers: {} run, {} failed\n", r.finalizers_run, r.finalizers_failed);
  out += fmt::format("  pending calls: {} run, {} failed, {} refused\n", r.pending_calls_run, r.pending_calls_failed,
                     r.pending_calls_refused);
  return out;
}

std::string to_json(const finalization_report& r) {
  using nlohmann::json;
  json j;
  j["verdict"] = name_of(r.verdict);
  j["seconds"] = r.seconds;
  j["exit_status"] = r.exit_status;
  j["phases"] = json::array();
  for (const auto& p : r.phases)
    j["phases"].push_back({{"name", p.name}, {"seconds", p.seconds}, {"forced", p.forced}});
  j["interpreters"] = json::array();
  for (const interpreter_report& i : r.interpreters) {
    json one = {{"id", number(i.id)}, {"name", i.name}, {"outcome", name_of(i.outcome)}, {"error", nullptr}};
    if (!i.failure.message.empty())
      one["error"] = {
          {"code", name_of(i.failure.code)}, {"message", i.failure.message}, {"traceback", i.failure.traceback}};
    j["interpreters"].push_back(std::move(one));
  }
  json leaked = json::array();
  for (const exported_object& l : r.leaked) {
    json holders = json::array();
    for (const interpreter_id h : l.holders) holders.push_back(number(h));
    leaked.push_back({{"owner", number(l.id.owner)},
                      {"owner_name", l.owner_name},
                      {"holder", holders},
                      {"type", l.type},
                      {"credit", l.credit}});
  }
  j["references"] = {{"exported", r.exported}, {"released", r.released}, {"leaked", leaked}};
  j["messages"] = {{"delivered", r.messages_delivered}, {"dead_letters", r.dead_letters}};
  j["finalizers"] = {{"run", r.finalizers_run}, {"failed", r.finalizers_failed}};
  j["pending_calls"] = {
      {"run", r.pending_calls_run}, {"failed", r.pending_calls_failed}, {"refused", r.pending_calls_refused}};
  // Guest text may be any bytes; what is not UTF-8 is replaced.
  return j.dump(-1, ' ', false, json::error_handler_t::replace);
}

} // namespace Atoll
