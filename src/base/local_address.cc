#include "base/local_address.h"

#include <random>

#include "base/result.h"

namespace cohort {

std::string random_local_name() {
  std::random_device random;
  std::string name;
  while (name.size() < 32) name += fmt::format("{:08x}", random());
  return name;
}

}  // namespace cohort
