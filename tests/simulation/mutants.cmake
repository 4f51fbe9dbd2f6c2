# The simulation must notice when the real code breaks a rule: each mutant is one source file with one rule taken out,
# linked ahead of the libraries, and a test that fails when the simulation runs clean with it.
#
# atoll_mutant(NAME FILE FROM TO [FROM TO...]): see broken_copy.cmake. A header's mutant compiles the sources
# that use it as well (mutant_users).
set(mutant_users runtime/exports.cpp actors/shell/interpreter_turn.cpp actors/shell/interpreter_host.cpp)

function(atoll_mutant name file)
  set(folder "${CMAKE_CURRENT_BINARY_DIR}/mutants/${name}")
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "" "") # ARGN would fall apart at semicolons
  atoll_broken_copy("${folder}" "${file}" ${arg_UNPARSED_ARGUMENTS})
  set(sources "${folder}/${file}")
  if(file MATCHES "\\.hpp$")
    list(TRANSFORM mutant_users PREPEND "${PROJECT_SOURCE_DIR}/" OUTPUT_VARIABLE sources)
  endif()

  atoll_executable(mutant_${name} ${sources} $<TARGET_OBJECTS:test_simulation>)
  target_include_directories(mutant_${name} BEFORE PRIVATE "${folder}")
  # No warnings: taking a line out leaves things unused.
  target_compile_options(mutant_${name} PRIVATE -w)
  target_link_libraries(mutant_${name} PRIVATE atoll_test_main ${links_rest})
  atoll_export_lua(mutant_${name})
  set_target_properties(mutant_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}/mutants")
  add_test(NAME "mutant: ${name}"
    COMMAND "${BASH_PROGRAM}" "${PROJECT_SOURCE_DIR}/tests/simulation/catch_mutant.sh" "$<TARGET_FILE:mutant_${name}>")
  set_tests_properties("mutant: ${name}" PROPERTIES TIMEOUT 300 ENVIRONMENT "${sanitizer_env}")
endfunction()

# Rule 2: a holder that passes a reference on keeps at least 1.
atoll_mutant(gives_all_credit runtime/imports.cpp
  "const std::uint32_t half = e.credit / 2;"
  "const std::uint32_t half = e.credit;")
# Rule 4: who lent stays until the loan is back.
atoll_mutant(no_lender_pin runtime/imports.cpp
  "if (e.uses > 0 || e.loans_out > 0 || e.pending) return;"
  "if (e.uses > 0 || e.pending) return;")
# Rule 4: the borrower returns the loan when it has credit of its own, not before.
atoll_mutant(loan_returned_early runtime/imports.cpp
  "    lenders_[i] = ref.lender;"
  "    lenders_[i] = ref.lender;\n    queue_.add({protocol_message::kind::loan_return, 1, ref.lender, e.id});")
# Rule 8: what is destroyed unread returns its credit.
atoll_mutant(unread_keeps_credit channels/disposal.cpp
  "      send_decref(ref.id, ref.credit, out_);"
  "      (void)ref;")
# Rule 10: a stale generation resolves to nothing.
atoll_mutant(generation_ignored runtime/exports.hpp
  "return e.used && e.generation == id.generation ?"
  "return e.used ?")
# Rule 6: only the last use settles.
atoll_mutant(released_while_used runtime/imports.cpp
  "  if (e.uses == 0) settle(i);\n}\n\nvoid import_table::on_loan_return"
  "  settle(i);\n}\n\nvoid import_table::on_loan_return"
  "if (e.uses > 0 || e.loans_out > 0 || e.pending) return;"
  "if (e.loans_out > 0 || e.pending) return;")
# Rule 5: receipts merge.
atoll_mutant(receipt_overwrites runtime/imports.cpp
  "    add_credit(e, ref.credit);"
  "    e.credit = ref.credit;")
# Rule 5: one's own object comes home with its credit.
atoll_mutant(own_credit_kept actors/shell/interpreter_host.cpp
  "  if (ref.credit > 0) {\n    exports_.take_back(ref.id, ref.credit);"
  "  if (ref.credit > 0) {")
# Rule 6: a proxy that was released is not released again by its finalizer; its entry may be another's by then.
atoll_mutant(finalizer_releases_again guests/lua/references.cpp
  "  p.held = false;"
  "")
# I4: an object minted again before its turn came is not due any more.
atoll_mutant(freed_on_temporary_zero runtime/exports.hpp
  "      if (e.out > 0) continue;"
  "")
# Rule 9: a holder that ends leaves tombstones for what it lent.
atoll_mutant(tombstone_forgotten actors/shell/interpreter_end.cpp
  "env_.where().leave(id_, imports_->take_pinned());"
  "imports_->take_pinned(), env_.where().leave(id_, {});")
# Rule 3: credit that comes for an entry that is gone goes home.
atoll_mutant(late_grant_lost runtime/imports.cpp
  "    if (credit > 0) queue_.add_decref(id, credit);"
  "")
# Rule 10: surplus credit goes home.
atoll_mutant(surplus_lost runtime/imports.cpp
  "  if (surplus > 0) queue_.add_decref"
  "  if (false) queue_.add_decref")
# A message taken back brings its credit back.
atoll_mutant(rollback_forgets actors/shell/interpreter_host.cpp
  "      self_.imports().put_back(ref);"
  "")
# An envelope handled in part: only the rest is disposed of.
atoll_mutant(handled_part_disposed_of actors/shell/interpreter_end.cpp
  "  if (half_handled_ && first_ != nullptr) {"
  "  if (false) {")
