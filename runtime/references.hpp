// How a reference gets into a message: it is taken from its table and written, or neither happens.
// Why: credit that was taken and not written stands nowhere; no rollback finds it, and its object lives for ever. Guests,
// the host program and tests write references with these functions alone, so that none of them can get it wrong.
// Threads: the tables' owner.
// Invariants: (1) true: the message carries what the table gave. (2) false: the writer has failed, and the table is as
//                 it was, but for credit it may have asked for. An object that was exported for this message is due.
#pragma once

#include "runtime/exports.hpp"
#include "runtime/imports.hpp"

namespace Atoll {

/// One's own object, as a value. It has a slot in the table already (export_table::add).
inline bool put_exported(wire_writer& w, export_table& exports, export_table::slot_index slot) {
  const wire_ref ref = exports.mint(slot); // also for a failed writer: taking it back makes a new object due
  if (w.put_reference(ref)) return true;
  exports.take_back(ref.id, ref.credit);
  return false;
}

/// Another's object, passed on as a value. The caller has a use of the entry.
inline bool put_imported(wire_writer& w, import_table& imports, import_table::index i) {
  if (w.failed()) return false;
  const wire_ref ref = imports.give(i);
  if (w.put_reference(ref)) return true;
  imports.put_back(ref);
  return false;
}

/// Another's object as the target of an invoke, in a call to its owner. The caller has a use of the entry.
inline bool put_imported_target(wire_writer& w, import_table& imports, import_table::index i) {
  if (w.failed()) return false;
  const wire_ref ref = imports.give_target(i);
  if (w.put_target(ref)) return true;
  imports.put_back(ref);
  return false;
}

} // namespace Atoll
