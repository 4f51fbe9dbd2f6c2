#include "actors/function_symbols.hpp"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace Atoll {

namespace {

std::string demangled(const char* name) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> plain(abi::__cxa_demangle(name, nullptr, nullptr, &status), std::free);
  return status == 0 && plain != nullptr ? plain.get() : name;
}

/// How far the program lies from where its file says.
std::uintptr_t load_bias() {
  std::uintptr_t bias = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* out) {
        *static_cast<std::uintptr_t*>(out) = info->dlpi_addr; // the program comes first
        return 1;
      },
      &bias);
  return bias;
}

/// The running program's, mapped: of a file of many megabytes only the table is looked at.
std::string_view map_own_file() {
  const int descriptor = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return {};
  struct stat about {};
  const bool known = ::fstat(descriptor, &about) == 0 && about.st_size > 0;
  const auto size = static_cast<std::size_t>(about.st_size);
  void* const at = known ? ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0) : MAP_FAILED;
  ::close(descriptor);
  return at != MAP_FAILED ? std::string_view(static_cast<const char*>(at), size) : std::string_view();
}

/// A T at this place of the file; false: the file ends before.
template <class T>
bool read_at(std::string_view file, std::size_t at, T& out) {
  if (at > file.size() || file.size() - at < sizeof(T)) return false;
  std::memcpy(&out, file.data() + at, sizeof(T));
  return true;
}

} // namespace

function_symbols::function_symbols() : file_(map_own_file()) {
  const std::string_view file = file_;
  ElfW(Ehdr) head{};
  if (!read_at(file, 0, head) || std::memcmp(head.e_ident, ELFMAG, SELFMAG) != 0) return;
  const std::uintptr_t bias = load_bias();
  for (std::size_t i = 0; i < head.e_shnum; ++i) {
    ElfW(Shdr) table{};
    ElfW(Shdr) names{};
    if (!read_at(file, head.e_shoff + i * sizeof(table), table) || table.sh_type != SHT_SYMTAB) continue;
    if (!read_at(file, head.e_shoff + table.sh_link * sizeof(names), names)) continue;
    for (std::size_t at = 0; at + sizeof(ElfW(Sym)) <= table.sh_size; at += sizeof(ElfW(Sym))) {
      ElfW(Sym) s{};
      if (!read_at(file, table.sh_offset + at, s)) break;
      if (ELF64_ST_TYPE(s.st_info) != STT_FUNC || s.st_value == 0 || s.st_size == 0) continue;
      const std::size_t name = names.sh_offset + s.st_name;
      if (name >= names.sh_offset + names.sh_size || names.sh_offset + names.sh_size > file.size()) continue;
      all_.push_back({bias + s.st_value, bias + s.st_value + s.st_size, file.data() + name});
    }
  }
  std::sort(all_.begin(), all_.end(), [](const symbol& a, const symbol& b) { return a.start < b.start; });
}

function_symbols::~function_symbols() {
  if (!file_.empty()) ::munmap(const_cast<char*>(file_.data()), file_.size());
}

std::string function_symbols::name_at(const void* address) const {
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  auto next =
      std::upper_bound(all_.begin(), all_.end(), at, [](std::uintptr_t a, const symbol& s) { return a < s.start; });
  if (next != all_.begin() && at < (--next)->end) return demangled(next->name);
  Dl_info info{};
  if (dladdr(const_cast<void*>(address), &info) != 0 && info.dli_sname != nullptr) return demangled(info.dli_sname);
  return {};
}

} // namespace Atoll
