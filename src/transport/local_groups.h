// All ranks of a group inside one process, each to be used by a thread of its own: for `cohort verify --ranks`, for
// tests and for measurements.
#pragma once

#include <memory>
#include <optional>
#include <ostream>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "transport/cipher.h"
#include "transport/group.h"
#include "transport/slow_link.h"

namespace cohort::transport {

enum class LinkType { kTcp, kShm, kVerbs, kVerbsUc, kVerbsMac, kUcx };
const char* type_name(LinkType type);               // "Tcp"
LinkType link_type_of(std::string_view transport);  // "tcp"; kTcp when it is none of ours
// Those that this machine can open; but UCX, of which a few dozen in one process take minutes.
std::vector<LinkType> link_types_here();
inline void PrintTo(LinkType type, std::ostream* out) { *out << type_name(type); }

struct LocalGroupOptions {
  int size = 1;
  LinkType type = LinkType::kShm;
  std::optional<LinkKey> secret;  // of TCP links
  std::optional<SlowPath> path;   // none: as fast as the links are
  GroupOptions group;
};

// links[a][b] leads from rank a to rank b of this machine.
using LinkTable = std::vector<std::vector<std::unique_ptr<Link>>>;
Result<LinkTable> make_local_links(const LocalGroupOptions& options);

// groups[r] is rank r's.
Result<std::vector<std::unique_ptr<Group>>> make_local_groups(const LocalGroupOptions& options);

}  // namespace cohort::transport
