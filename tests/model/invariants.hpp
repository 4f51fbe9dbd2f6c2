// What must hold in every state of the modelled world, and the measure that shows that it comes to rest.
// Threads: any; no state.
//
//   I1 out = credit held by imports and tombstones + credit in flight.
//   I2 a proxy, an import, a tombstone or a reference in flight => out > 0 and the object is exported.
//   I3 (a) every step lowers the measure: guests act a bounded number of times, so every run ends;
//      (b) in a quiet state (nothing in flight, due, waiting for a finalizer or an answer) what no guest has a proxy of
//          is home: no import, no tombstone, its object dropped. Together: whatever happens, once nobody holds an object
//          and messages are handled, it is dropped.
//   I4 an object is dropped once; it is dropped when it ought to be, see I3 (b). The steps report the second drop.
//   I5 in a quiet state every call of a caller that lives is answered. The steps report the second answer.
//   I1 and I2 speak of objects whose owner lives; those of a dead owner went with it.
#pragma once

#include "tests/model/world.hpp"

namespace Atoll::model {

/// Nothing, or which invariant is broken, and how.
std::string broken_invariant(const world& w, const configuration& c);

/// Falls with every step.
int measure(const world& w, const configuration& c);

/// Only guests could do something.
bool quiet(const world& w, const configuration& c);

} // namespace Atoll::model
