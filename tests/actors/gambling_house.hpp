// What gamblers (gambler.hpp) have to do with the world they play in: their books, their habits, and whom they ask.
// Threads: the house in the turns of all its gamblers; a book in its owner's turns, and anybody's while all rest.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "runtime/ids.hpp"

namespace Atoll::test {

/// What one gambler waits for, and what became of its objects.
struct gambler_book {
  enum class wait { answer, timer, room, down };
  struct expectation {
    wait what{};
    interpreter_id whom{};
    int came = 0;
    bool cancelled = false;
  };
  std::vector<expectation> expectations; // by token - 1
  std::vector<int> drops;                // of each exported object, by its word

  /// What must never be, and what must not be of one who lives; asked while all rest. `lives` says who does.
  std::vector<std::string> faults(interpreter_id owner, const std::function<bool(interpreter_id)>& lives) const {
    const bool alive = lives(owner);
    std::vector<std::string> all;
    for (const int n : drops) {
      if (n > 1) all.push_back("I4: an object was dropped " + std::to_string(n) + " times");
      if (n == 0 && alive) all.emplace_back("I3: an object was never dropped");
    }
    for (const expectation& e : expectations) {
      static constexpr const char* names[] = {"an answer", "a timer", "room", "the end"};
      const std::string name =
          std::string(names[static_cast<int>(e.what)]) + " of interpreter " + std::to_string(number(e.whom));
      const int due = e.what == wait::down && lives(e.whom) ? 0 : 1;
      if (e.came > due) all.push_back(name + " came too often");
      if (e.came > 0 && e.cancelled) all.push_back(name + " came although it was cancelled");
      if (e.came < due && !e.cancelled && alive) all.push_back(name + " never came");
    }
    return all;
  }
};

/// Where gamblers play: what they ask of the world around them.
class gambling_house {
public:
  /// Mostly the living, sometimes the dead.
  virtual interpreter_id anybody(std::uint64_t dice) = 0;
  /// No more births.
  virtual bool full() = 0;
  /// Everything comes to its end: they keep nothing, put nothing off and start nothing.
  virtual bool winding_up() const = 0;
  virtual void violated(const std::string& what) = 0;
  /// `who` was told that `whom` is gone, when it sent to it, or that it ended. Where no threads run, that can be checked.
  virtual void told_gone(interpreter_id /*who*/, interpreter_id /*whom*/) {}
  virtual void told_down(interpreter_id /*who*/, interpreter_id /*whom*/) {}

protected:
  ~gambling_house() = default;
};

/// How often they do what they do: once in so many times. 0 is never.
struct gambler_habits {
  std::size_t acts_when_told = 6;
  std::size_t acts_when_asked = 8;
  std::size_t kills = 12;
  std::size_t forgets_use = 0;    // a broken guest: it never lets go
  std::size_t forgets_answer = 0; // and it never answers
};

} // namespace Atoll::test
