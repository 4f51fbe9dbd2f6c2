// The program's operator new and delete, as replaced_new.cpp defines them: through these two.
// Why: what fails or stands still where memory is asked for can only do so in a program of its own.
#pragma once

#include <cstddef>

namespace Atoll::testing {

// Defined by the program. Any thread. Null: there is no memory.
void* allocate(std::size_t bytes) noexcept;
void give_back(void* p) noexcept;

} // namespace Atoll::testing
