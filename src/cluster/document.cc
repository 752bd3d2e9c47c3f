#include "cluster/document.h"

#include <algorithm>

namespace cohort::cluster {
namespace {

constexpr std::string_view kDevicePrefix = "device/";

// FNV-1a, so that the figure is the same on every machine.
uint64_t mix(uint64_t hash, std::string_view bytes) {
  for (const char c : bytes) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3ull;
  return hash;
}

uint64_t hash_of(const Document& document) {
  uint64_t hash = mix(0xcbf29ce484222325ull, document.key);
  hash = mix(hash, document.version.writer);
  const uint64_t numbers[2] = {document.version.term, document.version.counter};
  return mix(hash, {reinterpret_cast<const char*>(numbers), sizeof(numbers)});
}

bool well_formed(const Document& document) {
  if (document.body.size() > kMaxDocumentBytes || document.version.writer.empty()) return false;
  return document.key == kPlanKey || document.key == device_key(document.version.writer);
}

}  // namespace

std::string device_key(const DeviceId& device) { return std::string(kDevicePrefix) + device; }

bool Documents::merge(const Document& document) {
  if (!well_formed(document)) return false;
  const auto found = documents_.find(document.key);
  if (found == documents_.end()) {
    if (documents_.size() >= kMaxDocuments) return false;
    documents_.emplace(document.key, document);
    hash_ ^= hash_of(document);
    return true;
  }
  if (document.version <= found->second.version) return false;
  hash_ ^= hash_of(found->second) ^ hash_of(document);
  found->second = document;
  return true;
}

void Documents::erase(const std::string& key) {
  const auto found = documents_.find(key);
  if (found == documents_.end()) return;
  hash_ ^= hash_of(found->second);
  documents_.erase(found);
}

const Document* Documents::find(std::string_view key) const {
  const auto found = documents_.find(key);
  return found == documents_.end() ? nullptr : &found->second;
}

std::vector<DigestEntry> Documents::digest() const {
  std::vector<DigestEntry> entries;
  entries.reserve(documents_.size());
  for (const auto& [key, document] : documents_) entries.push_back({key, document.version});
  return entries;
}

std::vector<Document> Documents::newer_than(const std::vector<DigestEntry>& digest) const {
  std::vector<const DigestEntry*>
      theirs;  // by key, as ours are; a peer may have sent them in any order
  theirs.reserve(digest.size());
  for (const DigestEntry& entry : digest) theirs.push_back(&entry);
  const auto by_key = [](const DigestEntry* a, const DigestEntry* b) { return a->key < b->key; };
  if (!std::is_sorted(theirs.begin(), theirs.end(), by_key))
    std::sort(theirs.begin(), theirs.end(), by_key);
  std::vector<Document> newer;
  auto next = theirs.begin();
  for (const auto& [key, document] : documents_) {
    while (next != theirs.end() && (*next)->key < key) ++next;
    const bool has = next != theirs.end() && (*next)->key == key;
    if (!has || (*next)->version < document.version) newer.push_back(document);
  }
  return newer;
}

}  // namespace cohort::cluster
