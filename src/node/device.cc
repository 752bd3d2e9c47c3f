#include "node/device.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <system_error>

#include "base/bytes.h"

namespace cohort::node {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kReserveBytes =
    128u << 20;  // a runner's own needs beside weights: activations, code, a little KV

bool is_device_id(const std::string& text) {
  return text.size() == 32 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

std::string new_device_id() {
  std::random_device random;
  std::string id;
  while (id.size() < 32) id += fmt::format("{:08x}", random());
  return id;
}

}  // namespace

std::string host_name() {
  char name[256] = "";
  if (::gethostname(name, sizeof name - 1) != 0 || name[0] == '\0') return "device";
  return name;
}

Result<std::string> device_id(const std::string& data_dir) {
  if (data_dir.empty()) return new_device_id();
  const fs::path path = fs::path(data_dir) / "device-id";
  std::string id;
  std::ifstream(path) >> id;
  if (is_device_id(id)) return id;
  id = new_device_id();
  std::error_code error;
  fs::create_directories(data_dir, error);
  const fs::path temporary = path.string() + fmt::format(".{}", ::getpid());
  std::ofstream(temporary) << id << "\n";
  fs::rename(temporary, path, error);
  if (error) return fail(Code::kUnavailable, "cannot write {}: {}", path.string(), error.message());
  return id;
}

Result<void> check_fits(const FitQuestion& question) {
  const uint64_t needed = question.weight_bytes + kReserveBytes;
  uint64_t free_bytes = question.memory.available_bytes;
  if (question.limit_bytes > 0) {
    const uint64_t left =
        question.limit_bytes - std::min(question.limit_bytes, question.placed_bytes);
    free_bytes = std::min(free_bytes, left);
  }
  if (needed <= free_bytes) return {};
  return fail(Code::kUnavailable,
              "model '{}' needs {} of memory and {} is free: {} are missing; stop another instance "
              "or take a "
              "smaller quantisation",
              question.model, format_bytes(needed), format_bytes(free_bytes),
              format_bytes(needed - free_bytes));
}

}  // namespace cohort::node
