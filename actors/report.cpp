#include "actors/report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

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

/// "interpreter 2, the host program"; empty for nobody.
std::string people(const std::vector<interpreter_id>& all) {
  std::string text;
  for (const interpreter_id who : all)
    text += (text.empty() ? "" : ", ")
            + (who == host_interpreter ? "the host program" : fmt::format("interpreter {}", number(who)));
  return text;
}

std::string holders(const exported_object& l) { return l.holders.empty() ? "from outside" : "by " + people(l.holders); }

nlohmann::json numbers(const std::vector<interpreter_id>& all) {
  nlohmann::json list = nlohmann::json::array();
  for (const interpreter_id who : all) list.push_back(number(who));
  return list;
}

/// Outcomes by number, as in "3 stopped, 1 exited".
std::string outcomes(const finalization_report& r) {
  std::string text;
  for (std::size_t i = 0; i < end_kinds; ++i)
    if (r.outcomes[i] > 0)
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", r.outcomes[i], name_of(static_cast<end_kind>(i)));
  return text;
}

bool is_amiss(const interpreter_report& r) noexcept {
  return (r.outcome != end_kind::exited && r.outcome != end_kind::stopped) || r.finalizers_failed > 0
         || r.pending_calls_failed > 0 || r.pending_calls_refused > 0;
}

} // namespace

std::string deadlocked_task::text() const {
  std::string at = wait.task;
  if (!wait.where.empty()) at += (at.empty() ? "" : ", ") + wait.where;
  return fmt::format("interpreter {}{} waits for {}", number_and_name(id, name), at.empty() ? "" : " (" + at + ")",
                     wait.on);
}

std::uint64_t ends::total() const noexcept {
  return std::accumulate(outcomes.begin(), outcomes.end(), std::uint64_t{0});
}

void ends::add(interpreter_report r, std::size_t most) noexcept {
  ++outcomes[static_cast<std::size_t>(r.outcome)];
  exported += r.exported;
  released += r.released;
  messages_delivered += r.messages;
  finalizers_run += r.finalizers_run;
  finalizers_failed += r.finalizers_failed;
  pending_calls_run += r.pending_calls_run;
  pending_calls_failed += r.pending_calls_failed;
  pending_calls_refused += r.pending_calls_refused;
  std::size_t& listed = is_amiss(r) ? amiss_ : as_asked_;
  if (listed >= most && r.id != main_interpreter && r.outcome != end_kind::abandoned) return;
  try {
    interpreters.push_back(std::move(r));
    ++listed;
  } catch (const std::bad_alloc&) {
    // Counted, not listed: nobody who ends may fail here.
  }
}

std::string to_text(const finalization_report& r) {
  std::string out = fmt::format("finalization: {} in {:.3f} s\n", name_of(r.verdict), r.seconds);
  for (const auto& p : r.phases)
    for (const std::string& who : p.forced) out += fmt::format("  forced in {}: {}\n", p.name, who);
  for (const deadlocked_task& t : r.deadlock)
    out += fmt::format("  {}: {}\n", t.in_circle ? "deadlock" : "waited", t.text());
  for (const exported_object& l : r.leaked)
    out += fmt::format("  leaked: {} {} of interpreter {}, still held {}\n", l.type, l.id.slot,
                       number_and_name(l.id.owner, l.owner_name), holders(l));
  for (const channel_leftover& c : r.channels)
    out += fmt::format("  left in channel {}: {} item{}, sent by {}\n", c.id, c.items, c.items == 1 ? "" : "s",
                       c.senders.empty() ? "those who are gone" : people(c.senders));
  for (const interpreter_report& i : r.interpreters)
    if (i.outcome != end_kind::exited && i.outcome != end_kind::stopped)
      out += fmt::format("  {}: interpreter {}: {}\n", name_of(i.outcome), number_and_name(i.id, i.name),
                         i.failure.message);
  out += "  phases:";
  for (const auto& p : r.phases) out += fmt::format(" {} {:.3f} s", p.name, p.seconds);
  out += fmt::format("\n  interpreters: {} ({})\n", r.total(), outcomes(r));
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
  j["outcomes"] = json::object();
  for (std::size_t i = 0; i < end_kinds; ++i) j["outcomes"][name_of(static_cast<end_kind>(i))] = r.outcomes[i];
  json leaked = json::array();
  for (const exported_object& l : r.leaked) {
    leaked.push_back({{"owner", number(l.id.owner)},
                      {"owner_name", l.owner_name},
                      {"holder", numbers(l.holders)},
                      {"type", l.type},
                      {"credit", l.credit}});
  }
  j["references"] = {{"exported", r.exported}, {"released", r.released}, {"leaked", leaked}};
  j["deadlock"] = json::array();
  for (const deadlocked_task& t : r.deadlock)
    j["deadlock"].push_back({{"id", number(t.id)},
                             {"name", t.name},
                             {"task", t.wait.task},
                             {"where", t.wait.where},
                             {"waits_for", t.wait.on},
                             {"in_circle", t.in_circle}});
  j["channels"] = json::array();
  for (const channel_leftover& c : r.channels)
    j["channels"].push_back({{"id", c.id}, {"items", c.items}, {"senders", numbers(c.senders)}});
  j["messages"] = {{"delivered", r.messages_delivered}, {"dead_letters", r.dead_letters}};
  j["finalizers"] = {{"run", r.finalizers_run}, {"failed", r.finalizers_failed}};
  j["pending_calls"] = {
      {"run", r.pending_calls_run}, {"failed", r.pending_calls_failed}, {"refused", r.pending_calls_refused}};
  // Guest text may be any bytes; what is not UTF-8 is replaced.
  return j.dump(-1, ' ', false, json::error_handler_t::replace);
}

} // namespace Atoll
