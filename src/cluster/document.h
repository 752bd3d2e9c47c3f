// Cluster state: a small set of documents, each written by exactly one device and carrying a version. Everyone keeps the
// newest of each, so a late joiner needs one push, a healed partition converges, and losing the leader loses nothing.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace cohort::cluster {

using DeviceId = std::string;  // lower-case hex of the device key's hash

// Newer is greater. For a device's document the term is its boot time, for the plan it is the leader's term; between two
// leaders of the same term the greater id wins.
struct Version {
  uint64_t term = 0;
  DeviceId writer;
  uint64_t counter = 0;

  auto operator<=>(const Version&) const = default;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("term", term);
    visit("writer", writer);
    visit("counter", counter);
  }
};

inline constexpr std::string_view kPlanKey = "plan";
inline constexpr size_t kMaxDocumentBytes = 256 << 10;
inline constexpr size_t kMaxDocuments = 4096;

std::string device_key(const DeviceId& device);  // "device/<id>"

struct Document {
  std::string key;
  Version version;
  std::string body;  // JSON; opaque here

  bool operator==(const Document&) const = default;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("key", key);
    visit("version", version);
    visit("body", body);
  }
};

struct DigestEntry {
  std::string key;
  Version version;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("key", key);
    visit("version", version);
  }
};

// The newest of each document this device has seen. A value; copyable.
class Documents {
 public:
  // True when the document was news. One that breaks a bound, or a device document not written by that device, is not.
  bool merge(const Document& document);
  void erase(const std::string& key);

  const Document* find(std::string_view key) const;
  const std::map<std::string, Document, std::less<>>& all() const { return documents_; }

  uint64_t hash() const { return hash_; }  // equal sets have equal hashes
  std::vector<DigestEntry> digest() const;
  // What the writer of `digest` lacks or has older.
  std::vector<Document> newer_than(const std::vector<DigestEntry>& digest) const;

 private:
  std::map<std::string, Document, std::less<>> documents_;
  uint64_t hash_ = 0;
};

}  // namespace cohort::cluster
