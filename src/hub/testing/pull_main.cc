// pull_main ENDPOINT DATA_DIR REPOSITORY: a process that pulls, for tests that kill it.
#include <cstdio>

#include "hub/download.h"

int main(int argc, char** argv) {
  using namespace cohort::hub;
  if (argc != 4) return 2;
  PullOptions options;
  options.hub.endpoint = argv[1];
  options.hub.chunk_bytes = 64 << 10;
  options.hub.connections = 2;
  const Store store({.data_dir = argv[2], .use_hub_cache = false});
  const auto pulled = pull(store, argv[3], options);
  if (!pulled) std::fprintf(stderr, "%s\n", pulled.error().message.c_str());
  return pulled ? 0 : 1;
}
