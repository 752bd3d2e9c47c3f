#include "mesh/remembered.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "base/files.h"
#include "base/json.h"

namespace cohort::mesh {
namespace {

namespace fs = std::filesystem;

constexpr uintmax_t kMaxFileBytes = 64 << 10;

struct File {
  std::vector<RememberedPeer> peers;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("peers", peers);
  }
};

}  // namespace

RememberedPeers::RememberedPeers(std::string data_dir) {
  if (data_dir.empty()) return;
  path_ = (fs::path(data_dir) / "peers.json").string();
  std::error_code error;
  if (fs::file_size(path_, error) > kMaxFileBytes || error) return;
  std::ifstream stream(path_);
  auto file = read_json<File>(std::string(std::istreambuf_iterator<char>(stream), {}));
  if (!file) return;
  peers_ = std::move(file->peers);
  if (peers_.size() > kMax) peers_.resize(kMax);
}

Result<void> RememberedPeers::add(RememberedPeer peer) {
  if (path_.empty() || (!peers_.empty() && peers_.front() == peer)) return {};
  std::erase_if(peers_, [&](const RememberedPeer& known) {
    return known.id == peer.id || (known.host == peer.host && known.port == peer.port);
  });
  peers_.insert(peers_.begin(), std::move(peer));
  if (peers_.size() > kMax) peers_.resize(kMax);
  return write_file(path_, dump_json(to_json(File{peers_})) + "\n");
}

}  // namespace cohort::mesh
