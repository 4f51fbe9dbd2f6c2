// Sends what an import table has for others: decrefs merged per owner, requests for credit, loans that go back.
// Why: interpreters and the host program speak the same protocol; it is written down once (DESIGN section 5, rule 6).
// Threads: the table's owner, or whoever holds the lock that guards table and outbox.
#pragma once

#include "channels/outbox.hpp"
#include "runtime/imports.hpp"

namespace Atoll {

/// Empties the table's queue into the outbox, which the caller flushes. Throws std::bad_alloc when memory is out.
void send_protocol(import_table& imports, outbox& out, directory& where);

/// Ends an open record. False: nobody is there to hear it, and whatever it carried is still the caller's. Throws
/// std::bad_alloc, the record taken back.
bool commit_word(outbox& out);

} // namespace Atoll
