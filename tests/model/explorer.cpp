#include "tests/model/explorer.hpp"

#include <algorithm>
#include <cstring>
#include <sstream>

#include "tests/model/invariants.hpp"

namespace Atoll::model {

// -- states -----------------------------------------------------------------------------------------------------------

namespace {

std::uint32_t hash(const std::uint32_t* words, int n) {
  std::uint64_t h = 0x9E3779B97F4A7C15U;
  for (int i = 0; i < n; ++i) {
    h = (h ^ words[i]) * 0xD6E8FEB86659FD93U;
    h ^= h >> 32U;
  }
  return static_cast<std::uint32_t>(h * 0xD6E8FEB86659FD93U >> 32U);
}

int size_of(const std::uint32_t* words) { return static_cast<int>(words[0] & 31U); }

} // namespace

state_set::state_set() : table_(1U << 12U) {}

bool state_set::add(const packed& state, position found_from) {
  if (size_ * 5 > table_.size() * 3) grow();
  const int n = state.size();
  const std::uint32_t tag = hash(state.words.data(), n);
  const std::size_t mask = table_.size() - 1;
  for (std::size_t i = tag & mask;; i = (i + 1) & mask) {
    slot& s = table_[i];
    if (s.at == none) {
      s = {tag, append(state, found_from)};
      ++size_;
      return true;
    }
    if (s.tag == tag
        && std::memcmp(words(s.at), state.words.data(), static_cast<std::size_t>(n) * sizeof(std::uint32_t)) == 0)
      return false;
  }
}

void state_set::grow() {
  std::vector<slot> old(table_.size() * 2);
  old.swap(table_);
  const std::size_t mask = table_.size() - 1;
  for (const slot& s : old) {
    if (s.at == none) continue;
    std::size_t i = s.tag & mask;
    while (table_[i].at != none) i = (i + 1) & mask;
    table_[i] = s;
  }
}

state_set::position state_set::append(const packed& state, position found_from) {
  const auto n = static_cast<std::uint32_t>(state.size());
  // A state does not cross chunks; each chunk has room behind its last state for the longest, so that comparing may
  // read as many words as the other state has.
  if (chunks_.empty() || (end_ & chunk_mask) + 2 * (packed_words_max + 1) > chunk_mask) {
    end_ = static_cast<position>(chunks_.size() << chunk_bits);
    chunks_.push_back(std::make_unique<std::uint32_t[]>(std::size_t{1} << chunk_bits));
  }
  const position at = end_;
  std::uint32_t* to = &chunks_[at >> chunk_bits][at & chunk_mask];
  *to = found_from;
  std::copy_n(state.words.begin(), n, to + 1);
  end_ = at + n + 1;
  return at;
}

state_set::position state_set::next(position at) const {
  const position behind = at + static_cast<position>(size_of(words(at))) + 1;
  if (behind == end_ || (behind & chunk_mask) + 2 * (packed_words_max + 1) <= chunk_mask) return behind;
  return ((at >> chunk_bits) + 1) << chunk_bits;
}

// -- the search -------------------------------------------------------------------------------------------------------

explorer::explorer(configuration c) : c_(std::move(c)), rules_(c_), alike_(symmetry_of(c_)) {}

findings explorer::explore(std::uint64_t most) {
  const auto start = std::chrono::steady_clock::now();
  const world first = rules_.initial();
  seen_.add(canonical(first, c_, alike_), state_set::none);
  std::vector<successor> next;
  state_set::position level_end = seen_.end();
  for (state_set::position at = 0; at != seen_.end() && found_.violation.empty(); at = seen_.next(at)) {
    if (at >= level_end) {
      ++found_.depth;
      level_end = seen_.end();
    }
    const world w = unpack(seen_.words(at), c_);
    if (quiet(w, c_)) ++found_.quiet;
    rules_.successors(w, next);
    if (next.empty()) ++found_.final_states;
    const int before = measure(w, c_);
    for (const successor& s : next)
      if (!look_at(s, at, before)) break;
    if (seen_.size() > most && found_.violation.empty()) violated("too many states", at, w);
  }
  found_.states = seen_.size();
  found_.events = rules_.events();
  found_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return found_;
}

bool explorer::look_at(const successor& s, state_set::position from, int measure_before) {
  ++found_.steps;
  if (s.to.fault != nullptr || measure(s.to, c_) >= measure_before) {
    const std::string why = broken_invariant(s.to, c_);
    violated(why.empty() ? "I3: a step that brings the end no nearer" : why, from, s.to);
    return false;
  }
  const packed p = canonical(s.to, c_, alike_);
  if (!seen_.add(p, from)) return true;
  std::string why = broken_invariant(s.to, c_);
  if (why.empty()) return true;
  violated(std::move(why), from, s.to);
  return false;
}

namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

/// What a step changed: the lines that went (-) and those that came (+).
std::string difference(const std::string& before, const std::string& after) {
  std::vector<std::string> went = lines_of(before);
  std::string came;
  for (const std::string& line : lines_of(after)) {
    const auto same = std::find(went.begin(), went.end(), line);
    if (same == went.end()) {
      came += "   +" + line + "\n";
    } else {
      went.erase(same);
    }
  }
  std::string text;
  for (const std::string& line : went) text += "   -" + line + "\n";
  return text + came;
}

} // namespace

void explorer::violated(std::string why, state_set::position from, const world& last) {
  found_.violation = std::move(why);
  found_.trace = tell(from, last);
}

std::string explorer::tell(state_set::position to, const world& last) {
  std::vector<packed> way = {canonical(last, c_, alike_)};
  for (state_set::position at = to; at != state_set::none; at = seen_.found_from(at)) {
    packed p;
    std::copy_n(seen_.words(at), size_of(seen_.words(at)), p.words.begin());
    way.push_back(p);
  }
  std::reverse(way.begin(), way.end());
  found_.depth = static_cast<int>(way.size()) - 1;

  protocol rules(c_);
  std::vector<successor> next;
  std::string text = std::string(c_.name) + "\n";
  for (std::size_t k = 0; k < c_.lives.size(); ++k)
    text += life_name(static_cast<int>(k)) + " is an object of " + node_name(c_.lives[k].owner) + ", in its slot "
            + std::to_string(c_.lives[k].slot) + "\n";
  // The states kept are renamed ones: follow them with the names of the first.
  const bool fine = broken_invariant(last, c_).empty(); // then it is the measure that does not fall
  world w = rules.initial();
  for (std::size_t i = 1; i < way.size(); ++i) {
    rules.successors(w, next);
    const auto taken = std::find_if(next.begin(), next.end(), [&](const successor& s) {
      return canonical(s.to, c_, alike_).words == way[i].words
             && (i + 1 < way.size() || broken_invariant(s.to, c_).empty() == fine);
    });
    if (taken == next.end()) break;
    text += std::to_string(i) + ". " + describe(taken->how, w, c_) + "\n"
            + difference(describe(w, c_), describe(taken->to, c_));
    w = taken->to;
  }
  if (!fine) found_.violation = broken_invariant(w, c_); // with the names of the trace
  return text + "=> " + found_.violation + "\n";
}

} // namespace Atoll::model
